"""sleepstream stages sleep in real time, from a Lab Streaming Layer stream or a recording."""

__version__ = "0.1.0"
