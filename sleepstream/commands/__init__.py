"""What each command does: the rooms put together. `sleepstream.cli` imports one when it is called.

Standard output carries results; what is said to the person at the terminal goes to standard error.
"""
