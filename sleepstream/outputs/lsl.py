"""Estimates for other programs: they enter here and leave as Lab Streaming Layer streams.

Three outlets for each bed. The stage goes out as a marker, which any LSL recorder keeps; the
probabilities with confidence, quality and latency as numbers; and the provisional estimates as the
same numbers in a stream of their own, so that nobody takes them for the record. Every sample bears
the end of its epoch in the sender's clock. What the channels are is said in the streams' own
descriptions, in the way of XDF (``desc/channels/channel/{label,unit,type}``).

References
----------
XDF specification of stream metadata, https://github.com/sccn/xdf/wiki/Meta-Data
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import pylsl

import sleepstream
from sleepstream.errors import StreamError
from sleepstream.lsl_local import keep_local, sockets
from sleepstream.messages import EPOCH_S, STAGES, StageEstimate, stage_name

MARKER_TYPE = "Markers"
ESTIMATE_TYPE = "SleepStage"
INTENDED_USE = "research use only"

STAGE, PROBABILITIES, PROVISIONAL = "stage", "probabilities", "provisional"
"""How the names of the outlets end."""


class Channel(NamedTuple):
    """A channel of an outlet, as its description tells it."""

    label: str
    unit: str
    type: str


STAGE_CHANNELS: tuple[Channel, ...] = (Channel("stage", "none", "Markers"),)

ESTIMATE_CHANNELS: tuple[Channel, ...] = (
    *(Channel(stage.name, "probability", "Probability") for stage in STAGES),
    Channel("confidence", "probability", "Probability"),
    Channel("quality", "none", "Quality"),
    Channel("latency", "ms", "Latency"),
)


class StageOutlets:
    """The three outlets of one bed; a `Sink` and a context manager.

    They are on the network from the moment this is made. Their source ids depend on the bed alone,
    so that a receiver finds them again after a restart.

    Parameters
    ----------
    bed : str
        Whose estimates they are.
    source : str
        Name of the stream that is staged.
    channel : str
        The derivation that is staged.
    sfreq : float
        Sampling rate of the source, in hertz.
    model : str
        Hash of the models.
    network : bool
        Whether other computers may receive them, too.
    linger_s : float
        How long closing waits for receivers to fetch the last sample, in seconds.

    Attributes
    ----------
    local : bool
        Whether nobody but this computer can receive them.

    Raises
    ------
    StreamError
        liblsl cannot open an outlet.
    """

    def __init__(
        self,
        bed: str,
        *,
        source: str,
        channel: str,
        sfreq: float,
        model: str,
        network: bool = False,
        linger_s: float = 0.5,
    ) -> None:
        about = {
            "manufacturer": "sleepstream",
            "version": sleepstream.__version__,
            "bed": bed,
            "source": source,
            "source_channel": channel,
            "source_sfreq": str(sfreq),
            "model": model,
            "epoch_s": str(EPOCH_S),
            "intended_use": INTENDED_USE,
        }
        self._linger_s = linger_s
        name = f"sleepstream-{bed}"
        marker = (MARKER_TYPE, pylsl.cf_string, STAGE_CHANNELS, about)
        numbers = (ESTIMATE_TYPE, pylsl.cf_float32, ESTIMATE_CHANNELS, about)
        before = sockets()
        self._outlets = {
            STAGE: _outlet(f"{name}-{STAGE}", *marker),
            PROBABILITIES: _outlet(f"{name}-{PROBABILITIES}", *numbers),
            PROVISIONAL: _outlet(f"{name}-{PROVISIONAL}", *numbers),
        }
        self.local = not network and keep_local(sockets() - before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def push(self, estimate: StageEstimate) -> None:
        """Send an estimate to whoever listens; returns at once.

        Parameters
        ----------
        estimate : StageEstimate
            A final one leaves by the stage and the probabilities, a provisional one by its own
            outlet. Its stamp is `estimate.end_s`.
        """
        numbers = sample(estimate)
        if estimate.final:
            self._outlets[STAGE].push_sample([stage_name(estimate.stage)], estimate.end_s)
            self._outlets[PROBABILITIES].push_sample(numbers, estimate.end_s)
        else:
            self._outlets[PROVISIONAL].push_sample(numbers, estimate.end_s)

    def show(self, estimate: StageEstimate) -> None:
        """Send an estimate: `push`, as a sink calls it."""
        self.push(estimate)

    def close(self) -> None:
        """Take the outlets off the network, after whoever listens has had time for the last."""
        if any(outlet.have_consumers() for outlet in self._outlets.values()):
            # An outlet that is destroyed drops what its receivers have not fetched, and liblsl
            # has no way to ask. On one machine 20 ms were enough, and 0 ms lost every other one.
            threading.Event().wait(self._linger_s)
        # liblsl knows no closing, only destruction, which pylsl leaves to the last reference.
        self._outlets.clear()


def sample(estimate: StageEstimate) -> list[float]:
    """Return an estimate as a sample of `ESTIMATE_CHANNELS`."""
    return [
        *(float(p) for p in estimate.probs),
        estimate.confidence,
        estimate.quality.score,
        estimate.latency_ms,
    ]


def _outlet(
    name: str,
    kind: str,
    number_format: int,
    channels: tuple[Channel, ...],
    about: Mapping[str, str],
) -> Any:
    info = pylsl.StreamInfo(
        name, kind, len(channels), pylsl.IRREGULAR_RATE, number_format, source_id=name
    )
    described = info.desc()
    for key, value in about.items():
        described.append_child_value(key, value)
    listed = described.append_child("channels")
    for channel in channels:
        entry = listed.append_child("channel")
        for key, value in channel._asdict().items():
            entry.append_child_value(key, value)
    try:
        return pylsl.StreamOutlet(info)
    except RuntimeError as error:
        raise StreamError(
            f"an LSL outlet called {name!r}",
            f"liblsl could not open it: {error}",
            "check that the network allows local sockets, or run with --no-lsl-out",
        ) from error
