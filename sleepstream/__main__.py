"""``python -m sleepstream``."""

from sleepstream.cli import main

main()
