"""The errors that a user can meet, as one small tree.

::

    SleepstreamError            exit 1
     ├─ SettingsError           exit 2   sleepstream.toml or a flag
     ├─ StreamError             exit 3   no such stream, ambiguous, changed under us
     │   └─ ChannelError        exit 3   no such channel, no such reference
     ├─ RecordingError          exit 4   a file that cannot be read as EEG
     │   └─ UnitError           exit 4   the amplitude contradicts the declared unit
     ├─ ModelError              exit 5   weights missing, damaged or of another shape
     └─ StoreError              exit 6   the record of the night cannot be written or read
         └─ BedTakenError       exit 7   another sleepstream stages this bed

Every message says what was sought, what was found and what to do about it. The command line prints
it without a traceback and leaves with the exit code of its class.
"""

from __future__ import annotations

from sleepstream.plain import printable_lines


class SleepstreamError(Exception):
    """Something that the user can understand and mend.

    Parameters
    ----------
    sought : str
        What was expected or looked for.
    found : str
        What was there instead.
    remedy : str
        What to do about it.
    """

    exit_code = 1

    def __init__(self, sought: str, found: str, remedy: str) -> None:
        super().__init__(sought, found, remedy)
        self.sought = sought
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        # what was found is quoted, and may come from anywhere
        return printable_lines(f"{self.sought}\n  found: {self.found}\n  do:    {self.remedy}")


class SettingsError(SleepstreamError):
    """A key or flag that is unknown, of the wrong type or out of range."""

    exit_code = 2


class StreamError(SleepstreamError):
    """No stream, more than one, or one that cannot be staged."""

    exit_code = 3


class ChannelError(StreamError):
    """A channel or reference that the stream does not have."""


class RecordingError(SleepstreamError):
    """A file that cannot be read as an EEG recording."""

    exit_code = 4


class UnitError(RecordingError):
    """An amplitude that contradicts the declared unit."""


class ModelError(SleepstreamError):
    """Weights that are missing, damaged or not what their description says."""

    exit_code = 5


class StoreError(SleepstreamError):
    """The record of the night cannot be written or read."""

    exit_code = 6


class BedTakenError(StoreError):
    """Another sleepstream stages this bed."""

    exit_code = 7
