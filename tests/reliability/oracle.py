"""What has to be on record, from the fault log alone, and whether it is.

Twice, and independently of each other. Counted: the log says which sample came when and with which
stamp, the rules of ``docs/streams.md`` say where in time it belongs, and so how many epochs there
are and how much of each is real; this knows nothing of the daemon's code. To the bit: the same
samples with the same stamps are staged here from an array, without a wire.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from reliability.cases import Case
from reliability.house import LABEL, SFREQ, Observed
from sleepstream_replay.fault_log import Injected
from sleepstream_replay.faults import Faults
from sleepstream_replay.player import Player, Settings
from sleepstream_replay.recording import read_recording
from sleepstream_replay.wire import MemoryNetwork, MemoryOutlet, SimulatedClock

from sleepstream.config import Models
from sleepstream.messages import EPOCH_N_SAMPLES, EPOCH_S, Chunk, Event, StageEstimate
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.signal.track import Track
from sleepstream.stager.stager import Stager

GAP_S, BACK_S, LATE_S, FAR_S = 0.5, 0.25, 30.0, 12 * 3600.0
"""The rules: a gap, a step back, one that is a clock that was set, and one ahead that is."""

MIN_VALID, MOST_FLAT_S = 0.8, 15.0
TOLERANCE = 0.03
"""Of an epoch's valid fraction: chunks of less than half a second are no gap, and are only seen a
little later."""

MOST_EVENTS = 90
"""Thirty of the stream and twenty gaps in a row, then one a minute and one each ten seconds: more
than that in a night of minutes is a record that grows without bound."""

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_BEHIND = re.compile(r"behind its (\d+) epochs")


@dataclass(frozen=True, slots=True)
class Row:
    """What came out of one case.

    Attributes
    ----------
    case : Case
        Which one.
    expected, final, unscorable : int
        Epochs: that there have to be, that there are, and those among them that have no stage.
    lost, doubled : int
        Epochs that are not on record or were not announced; that were announced twice or should
        not be there.
    different : int or None
        Epochs that are not what the same samples give when they are staged without a wire; None
        where it is not known to the sample what was sent.
    stage_again_s : float or None
        Signal from the end of the fault to the end of the first epoch that has a stage.
    back_s : float or None
        Wall-clock seconds from the end of the fault to the message that all is well.
    recorded : str
        The events, in short.
    problems : tuple of str
        What is not as it has to be.
    """

    case: Case
    expected: int
    final: int
    unscorable: int
    lost: int
    doubled: int
    different: int | None
    stage_again_s: float | None
    back_s: float | None
    recorded: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """What can be counted.

    Attributes
    ----------
    n : int
        Epochs.
    valid : ndarray of float64, shape (n,)
        How much of each is real.
    unscorable : frozenset of int
        Which have no stage.
    places_s : ndarray of float64, shape (n_samples,)
        Where in the night each sample belongs, in seconds; NaN where it is left out.
    """

    n: int
    valid: Floats
    unscorable: frozenset[int]
    places_s: Floats


def on_the_wire(injected: Sequence[Injected], n_samples: int) -> tuple[Numbers, Floats, Numbers]:
    """Read the log: which sample came when, with which stamp (from 0 s), and which is no number."""
    stamps_s = np.arange(n_samples) / SFREQ
    real = np.ones(n_samples, np.int64)
    missing = np.zeros(n_samples, bool)
    before: dict[int, Numbers] = {}
    after: dict[int, Numbers] = {}
    for record in injected:
        samples = np.arange(record.first, record.last + 1)
        if record.effect in {"left out", "late"}:
            missing[samples] = True
        if record.effect == "late":
            before[record.sent_before] = samples
        if record.effect == "repeated":
            after[record.last] = samples
        if record.effect == "restamped":
            stamps_s[samples] += record.shift_s * np.arange(1, samples.size + 1) / samples.size
            stamps_s[record.last + 1 :] += record.shift_s
        if record.kind == "nan":
            real[samples] = 0
    pieces = []
    for sample in range(n_samples):
        if sample in before:
            pieces.append(before[sample])
        if not missing[sample]:
            pieces.append(np.array([sample]))
        if sample in after:
            pieces.append(after[sample])
    order = np.concatenate(pieces)
    return order, stamps_s[order], real[order]


def counted(stamps_s: Floats, real: Numbers, flat: Sequence[tuple[float, float]]) -> Counted:
    """Place samples in time by the rules, and count.

    Parameters
    ----------
    stamps_s : ndarray of float64, shape (n_samples,)
        In the order in which they came.
    real : ndarray of int64, shape (n_samples,)
        1 where the sample is a number.
    flat : sequence of (float, float)
        From when to when the signal lay on one value.
    """
    origin_s, due_s, n_late = float(stamps_s[0]), 0.0, 0
    arrived: Counter[int] = Counter()
    places_s = np.full(stamps_s.size, np.nan)
    for number, (stamp_s, is_real) in enumerate(zip(stamps_s.tolist(), real.tolist(), strict=True)):
        ahead_s = stamp_s - origin_s - due_s
        late = -LATE_S <= ahead_s < (-0.5 / SFREQ if n_late else -BACK_S)
        if late and n_late < LATE_S * SFREQ:
            n_late += 1
            continue
        if late or ahead_s < -LATE_S or ahead_s > FAR_S:
            origin_s, ahead_s = stamp_s - due_s, 0.0  # the clock was set: the night goes on
        n_late = 0
        due_s += max(0.0, ahead_s) if ahead_s > GAP_S else ahead_s
        places_s[number] = due_s
        arrived[int(due_s // EPOCH_S)] += is_real
        due_s += 1 / SFREQ
    n = int((due_s + 0.5 / SFREQ) // EPOCH_S)
    valid = np.array([min(1.0, arrived[k] / SFREQ / EPOCH_S) for k in range(n)])
    dead_s = [sum(_overlap(k, span) for span in flat) for k in range(n)]
    unscorable = {k for k in range(n) if valid[k] < MIN_VALID or dead_s[k] > MOST_FLAT_S}
    return Counted(n, valid, frozenset(unscorable), places_s)


def _overlap(epoch: int, span: tuple[float, float]) -> float:
    start_s, stop_s = EPOCH_S * epoch, EPOCH_S * (epoch + 1)
    return max(0.0, min(stop_s, span[1]) - max(start_s, span[0]))


class Oracle:
    """Judges what was observed; one for all cases, as it holds the models.

    Parameters
    ----------
    recording : Path
        Who slept.
    """

    def __init__(self, recording: Path) -> None:
        self._recording = read_recording(recording, (LABEL,))
        self._montage = choose([LABEL], ["uV"])
        self._lock = Lock()
        torch.set_num_threads(1)
        names = Models()
        self._stager = Stager.load(
            encoder=names.encoder,
            decoder=names.decoder,
            disorder=names.disorder,
            device=torch.device("cpu"),
            bed="bed1",
        )

    def judge(self, case: Case, observed: Observed) -> Row:
        """Hold the record against the log."""
        estimates, events = observed.estimates, observed.events
        want, over_s = self._wanted(case, observed)
        problems: list[str] = []
        numbers = [estimate.epoch for estimate in estimates]
        lost = set(range(want.n)) - (set(numbers) & set(observed.announced))
        extra = set(numbers) - set(range(want.n))
        doubled = sum(n - 1 for n in Counter(observed.announced).values()) + len(extra)
        nameless = {estimate.epoch for estimate in estimates if estimate.stage is None}
        different = self._different(case, observed) if case.exact else None
        if case.exact:
            problems += _not_as_counted(want, estimates, nameless)
        if missing := _untold(case.told, events):
            problems.append(f"not recorded: {missing!r}")
        if len(events) > MOST_EVENTS:
            problems.append(f"{len(events)} events")
        if observed.n_nights != 1:
            problems.append(f"{observed.n_nights} nights")
        if any(observed.codes):
            problems.append(f"exit codes {observed.codes}")
        if case.back and observed.back_s is None:
            problems.append(f"it never said {case.back!r}")
        problems += [f"{n} {what}" for n, what in ((len(lost), "lost"), (doubled, "doubled")) if n]
        if different:
            problems.append(f"{different} different")
        return Row(
            case=case,
            expected=want.n,
            final=len(estimates),
            unscorable=len(nameless),
            lost=len(lost),
            doubled=doubled,
            different=different,
            stage_again_s=_stage_again_s(estimates, over_s),
            back_s=_difference(observed.back_s, observed.over_s),
            recorded=_in_short(events),
            problems=tuple(problems),
        )

    def _wanted(self, case: Case, observed: Observed) -> tuple[Counted, float | None]:
        """Return what can be counted, and at which place of the night the fault was over."""
        n_samples = round(case.played_s * SFREQ)
        order, stamps_s, real = on_the_wire(observed.injected, n_samples)
        heard = np.ones(order.size, bool)
        if case.ends_early:
            heard = order < round(case.start_s * SFREQ)
        t0_s = observed.estimates[0].onset_s if observed.estimates else 0.0
        ends = [max(record.last + 1, record.sent_before) for record in observed.injected]
        for start_s, stop_s in _unheard(observed, t0_s):
            heard &= (stamps_s + t0_s < start_s) | (stamps_s + t0_s > stop_s - 0.5 / SFREQ)
            ends.append(round((stop_s - t0_s) * SFREQ))
        dead = [
            (record.first / SFREQ, (record.last + 1) / SFREQ)
            for record in observed.injected
            if record.kind in {"flat", "saturation"}
        ]
        want = counted(stamps_s[heard], real[heard], dead)
        after = want.places_s[order[heard] >= max(ends, default=n_samples)]
        return want, float(np.nanmin(after)) if np.isfinite(after).any() else None

    def staged(self, case: Case, observed: Observed, t0_s: float) -> list[StageEstimate]:
        """Stage what was sent from `t0_s` on, and heard, without a wire."""
        chunk = self._sent(case, observed, t0_s)
        with self._lock:
            self._stager.reset()
            return [self._stager.step(e) for e in Epocher(SFREQ, self._montage).push(chunk)]

    def _different(self, case: Case, observed: Observed) -> int:
        """Count the epochs that are not what the same samples give without a wire."""
        estimates = observed.estimates
        if not estimates:
            return 0
        staged = self.staged(case, observed, estimates[0].onset_s)
        pairs = zip(estimates, staged, strict=False)
        unlike = sum(_words(one) != _words(other) for one, other in pairs)
        return unlike + abs(len(estimates) - len(staged))

    def _sent(self, case: Case, observed: Observed, t0_s: float) -> Chunk:
        """Play the same faults into memory; leave out what no daemon was there to hear."""
        network, first = MemoryNetwork(), MemoryOutlet()
        chosen = Settings(
            source_id="ours", duration_s=case.played_s, faults=Faults(observed.sent_as)
        )
        player = Player(
            self._recording, chosen, first, SimulatedClock(t0_s), open_outlet=network.open
        )
        player.play()
        returned = [o for said, o in network.opened if not said.source_id.endswith("-second")]
        outlets = [first] if case.ends_early else [first, *returned]
        chunks = [chunk for outlet in outlets for chunk in outlet.chunks]
        rows = np.concatenate([rows for rows, _ in chunks]).astype(np.float32)
        stamps_s = np.concatenate([stamps_s for _, stamps_s in chunks])
        heard = np.ones(stamps_s.size, bool)
        for start_s, stop_s in _unheard(observed, t0_s):
            heard &= (stamps_s < start_s) | (stamps_s > stop_s - 0.5 / SFREQ)
        return Chunk(stamps_s[heard], np.ascontiguousarray(rows[heard].T))


def _unheard(observed: Observed, t0_s: float) -> Iterator[tuple[float, float]]:
    """Yield from when to when a daemon that was started again missed what was sent."""
    track = Track(SFREQ, "uV", MIN_VALID)
    for event in observed.events:
        if event.kind == "resumed" and (found := _BEHIND.search(event.text)):
            n_needed = track.newest_input(int(found[1]) * EPOCH_N_SAMPLES - 1) + 1
            yield t0_s + (n_needed - 0.5) / SFREQ, event.at_s


def _not_as_counted(
    want: Counted, estimates: Sequence[StageEstimate], nameless: set[int]
) -> Iterator[str]:
    for estimate in estimates[: want.n]:
        if abs(estimate.valid - want.valid[estimate.epoch]) > TOLERANCE:
            found = f"{estimate.valid:.3f} instead of {want.valid[estimate.epoch]:.3f}"
            yield f"epoch {estimate.epoch}: {found} is real"
    if nameless != want.unscorable:
        yield f"unscorable {sorted(nameless)} instead of {sorted(want.unscorable)}"


def _words(estimate: StageEstimate) -> dict[str, Any]:
    """Return all that has to be equal; which bed and how late do not."""
    return estimate.as_json() | {"latency_ms": 0, "bed": "", "derivation": ""} | _rounded(estimate)


def _rounded(estimate: StageEstimate) -> dict[str, Any]:
    return {"onset": round(estimate.onset_s, 6)}


def _untold(told: Sequence[str], events: Sequence[Event]) -> str:
    """Return the first of the words that no event has, in this order."""
    texts = iter([event.text for event in events])
    return next((words for words in told if not any(words in text for text in texts)), "")


def _stage_again_s(estimates: Sequence[StageEstimate], over_s: float | None) -> float | None:
    """Return the signal from a place in the night to the end of the next epoch with a stage."""
    if over_s is None:
        return None
    ends_s = [EPOCH_S * (e.epoch + 1) - over_s for e in estimates if e.stage is not None]
    return min((end_s for end_s in ends_s if end_s > 0), default=None)


def _difference(later_s: float | None, earlier_s: float | None) -> float | None:
    return None if later_s is None or earlier_s is None else max(0.0, later_s - earlier_s)


def _in_short(events: Sequence[Event]) -> str:
    """Return what is on record beside the epochs: words for the stream, kinds for the rest."""
    names = [
        event.text.partition(":")[0] if event.kind == "stream" else event.kind
        for event in events
        if event.kind not in {"connected", "ended"}
    ]
    if names and "recording that was played is over" in events[-1].text:
        del names[-1]  # that the stream left in the end
    counts = Counter(names)
    return ", ".join(name if n == 1 else f"{name} × {n}" for name, n in counts.items())
