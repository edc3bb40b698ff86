"""The scored stages as markers: each is sent when the samples have passed its onset.

In go the stages of a recording and how far the replay has come; labels with stamps leave through a
`Markers` outlet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sleepstream_replay.recording import Recording, ScoredStage
from sleepstream_replay.wire import Markers


class StageMarks:
    """Sends the stages whose onsets lie among the samples that are played.

    Parameters
    ----------
    recording : Recording
        Whose stages.
    section : range
        The samples that are played.
    loop : bool
        Whether the stages come again with each turn.
    markers : Markers or None
        Where they go; None for nowhere.
    """

    def __init__(
        self, recording: Recording, section: range, loop: bool, markers: Markers | None
    ) -> None:
        self._markers = markers
        self._onsets = _onsets(recording, section, loop)
        self._next = next(self._onsets, None)

    def reach(self, n_samples: int, stamp_s: Callable[[float], float]) -> None:
        """Send the stages that began within the first `n_samples`.

        Parameters
        ----------
        n_samples : int
            How many samples are past.
        stamp_s : callable
            Gives the stamp of an onset in samples.
        """
        while self._markers is not None and self._next is not None and self._next[0] < n_samples:
            onset, stage = self._next
            self._markers.mark(stage.label, stamp_s(onset))
            self._next = next(self._onsets, None)


def _onsets(
    recording: Recording, section: range, loop: bool
) -> Iterator[tuple[float, ScoredStage]]:
    """Yield the epochs with their onsets in samples since the start, in a loop for ever."""
    inside = [
        (stage.onset_s * recording.sfreq - section.start, stage)
        for stage in recording.stages
        if section.start <= stage.onset_s * recording.sfreq < section.stop
    ]
    passed = 0
    while inside:
        for onset, stage in inside:
            yield passed + onset, stage
        if not loop:
            return
        passed += len(section)
