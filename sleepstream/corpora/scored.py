"""A scored recording, whatever corpus it comes from.

Enters: an open recording, the derivation wanted and what was scored. Leaves: `Scored`: the signal
as the stager sees it, because the very `Epocher` of the live path has made the epochs, and one code
per epoch, matched by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from sleepstream.corpora.names import Origin
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED, Bout, Codes, codes_on_grid, grid_start
from sleepstream.errors import RecordingError
from sleepstream.messages import EPOCH_N_SAMPLES, EPOCH_S, Chunk, Float32Array, Stage, frozen
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import Montage
from sleepstream.sources.recording import Recording


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Whole epochs of one derivation and what a person said of each.

    Attributes
    ----------
    origin : Origin
        Corpus, subject, record and diagnosis.
    channel : str
        The derivation.
    signal : ndarray of float32, shape (1, n_epochs * 3000)
        Microvolts at 100 Hz, conditioned as in the live path (causal 0.3 Hz high-pass).
    codes : ndarray of int8, shape (n_epochs,)
        Number of the `Stage`, or `scoring.UNSCORED` or `scoring.MOVEMENT`.
    onset_s : float
        Where the first epoch begins, in seconds since the first sample of the file.
    started : datetime or None
        When that was, by the clock in the file.
    """

    origin: Origin
    channel: str
    signal: Float32Array
    codes: Codes
    onset_s: float = 0.0
    started: datetime | None = None

    @property
    def n_epochs(self) -> int:
        """Number of epochs."""
        return len(self.codes)

    @property
    def epochs(self) -> Float32Array:
        """The signal epoch by epoch, shape (n_epochs, 3000)."""
        return self.signal.reshape(-1, EPOCH_N_SAMPLES)

    @property
    def stages(self) -> tuple[Stage | None, ...]:
        """The stage of each epoch, None where there is none."""
        return tuple(Stage(code) if code >= 0 else None for code in self.codes)

    @property
    def movement(self) -> npt.NDArray[np.bool_]:
        """Which epochs were scored as movement time; without a stage the others are unscored."""
        return np.asarray(self.codes == MOVEMENT)


@dataclass(frozen=True, slots=True)
class Opened:
    """A recording that begins where its scorer's epochs do, not yet read.

    Attributes
    ----------
    origin : Origin
        Where it comes from.
    recording : Recording
        The channels of the derivation and no other.
    montage : Montage
        What to make of them.
    bouts : tuple of Bout
        What was scored, in seconds since the recording's first sample.
    start_s : float
        Where the first epoch on the scorer's grid begins.
    """

    origin: Origin
    recording: Recording
    montage: Montage
    bouts: tuple[Bout, ...]
    start_s: float

    def chunks(self) -> Iterator[Chunk]:
        """Read the derivation's channels from `start_s` on, as a stream would bring them."""
        for chunk in self.recording.chunks(self.montage.picks, self.montage.scales):
            # half a sample of room: the grid's start was rounded to a sample
            room_s = 0.5 / self.recording.sfreq
            first = int(np.searchsorted(chunk.stamps_s, self.start_s - room_s))
            if first < chunk.stamps_s.size:
                yield Chunk(chunk.stamps_s[first:], chunk.data[:, first:])

    def codes(self, n_epochs: int) -> Codes:
        """Return the code of each of the first `n_epochs` epochs."""
        return codes_on_grid(self.bouts, n_epochs, self.start_s)


def opened(recording: Recording, montage: Montage, bouts: Sequence[Bout], origin: Origin) -> Opened:
    """Find where a recording and its scoring meet.

    Parameters
    ----------
    recording : Recording
        The signal.
    montage : Montage
        The derivation to make of it.
    bouts : sequence of Bout
        What was scored, in seconds since the recording's first sample.
    origin : Origin
        Where it comes from.

    Raises
    ------
    RecordingError
        No epoch of the signal has a stage.
    """
    scored_codes(recording, bouts)  # refuses what has no stages before the signal is read
    part = recording.only(montage.picks)
    own = tuple(part.labels.index(recording.labels[pick]) for pick in montage.picks)
    start_s = grid_start(bouts, part.sfreq)
    return Opened(origin, part, replace(montage, picks=own), tuple(bouts), start_s)


def align(recording: Recording, montage: Montage, bouts: Sequence[Bout], origin: Origin) -> Scored:
    """Cut a recording into the scorer's epochs.

    Parameters
    ----------
    recording, montage, bouts, origin
        As for `opened`.

    Returns
    -------
    Scored
        Every whole epoch of the signal from the first one on the scorer's grid, scored or not.

    Raises
    ------
    RecordingError
        No epoch of the signal has a stage.
    UnitError
        The amplitude contradicts the unit.
    """
    found = opened(recording, montage, bouts, origin)
    epocher = Epocher(found.recording.sfreq, found.montage)
    epochs = [epoch for chunk in found.chunks() for epoch in epocher.push(chunk)]
    codes = found.codes(len(epochs)).copy()
    codes[[not epoch.scorable for epoch in epochs]] = UNSCORED
    codes.setflags(write=False)
    started = recording.started_utc
    return Scored(
        origin=origin,
        channel=montage.label,
        signal=frozen(np.concatenate([epoch.data for epoch in epochs], axis=1)),
        codes=codes,
        onset_s=found.start_s,
        started=started + timedelta(seconds=found.start_s) if started else None,
    )


def scored_codes(recording: Recording, bouts: Sequence[Bout]) -> Codes:
    """Return the codes that `align` would give, without reading the signal.

    Raises
    ------
    RecordingError
        No epoch of the signal has a stage.
    """
    staged = [bout for bout in bouts if bout.code >= 0]
    hours = recording.duration_s / 3600
    if not staged:
        raise RecordingError(
            f"scored sleep stages of {recording.path.name}",
            "none",
            "put the scoring beside the recording (docs/data.md says under which name)",
        )
    start_s = grid_start(bouts, recording.sfreq)
    n_epochs = max(0, int((recording.duration_s - start_s) / EPOCH_S))
    codes = codes_on_grid(bouts, n_epochs, start_s)
    if not (codes >= 0).any():
        first_h = min(bout.onset_s for bout in staged) / 3600
        last_h = max(bout.onset_s + bout.duration_s for bout in staged) / 3600
        raise RecordingError(
            f"stages within the {hours:.2f} h of {recording.path.name}",
            f"a scoring from {first_h:.2f} h to {last_h:.2f} h after its start",
            "check that recording and scoring belong together and that their clocks agree",
        )
    return codes
