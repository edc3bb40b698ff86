"""``python -m sleepstream_replay``: the command line of the replay on its own."""

from sleepstream_replay.cli import replay

if __name__ == "__main__":
    replay(prog_name="python -m sleepstream_replay")
