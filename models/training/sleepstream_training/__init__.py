"""How the shipped models were made, and how you make your own.

Recordings and recipes go in, model folders that `sleepstream run` accepts come out. One package per
model (`encoder`, `decoder`, `disorder`), `evaluation` for the figures in their cards, `runs` for
what every training has in common. This package imports sleepstream, and only the command line
imports it back, when a ``train`` or ``evaluate`` command is given.
"""
