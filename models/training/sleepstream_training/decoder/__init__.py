"""The decoder's training: a GPT over the night.

In come hypnograms and the out-of-fold probabilities of an encoder; out goes the model folder with
its card. `data` reads and splits the nights, `batches` makes inputs and targets of them, `fit` runs
the phases.
"""
