"""``python -m sleepstream``."""

from sleepstream.cli import process

process()
