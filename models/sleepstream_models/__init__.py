"""Weights that ship with sleepstream: one folder each, and the path to them.

Code here only finds the files. Reading and checking them is `sleepstream.stager.weights`.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""Where the shipped models lie."""
