"""How good the models are: metrics, baselines and the tables of the cards. Trains nothing.

Scored nights and what a model says about them come in; tables whose every figure carries a 95 %
interval over subjects go out, for a person, for a program and for the documentation. `metrics` and
`forecasts` count, `intervals` draws subjects again, `methods` are the models and the baselines,
`tables` are the form; `hypnograms`, `behind`, `stager` and `disorder` say what is compared with
what.
"""
