"""The disorder score: how it is fitted, compared with another architecture, and judged.

Scored nights of one database and a decoder come in; a model folder and its card go out. `cohort`
says who is compared with whom and what the decoder reads; `linear` and `segments` are the two
architectures; `nested` chooses between them on people that neither has learned from; `figures`
and `tables` count; `train` puts the parts together.
"""
