"""What can go wrong with a sender, as values.

The room where faults are named: each kind is a frozen type with a start and, mostly, a length in
*data time* (seconds of signal since the first sample that is played) and parameters of its own.
`faults_file` reads them, `injection` turns them into what happens to which sample, `line` and
`player` make it happen, `fault_log` writes down what was done.

::

    signal      nan  flat  saturation  mains  gain           what the samples say
    time        rate  drift  jump                            when they say they were taken
    transport   drop  silence  disconnect  late  duplicate   whether and when they are sent
    beside it   second-stream                                who else has the name
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

LONGEST_S = 7 * 86400.0
LONGEST_WALL_S = 3600.0

Start = Annotated[float, Meta(ge=0, le=LONGEST_S)]
Length = Annotated[float, Meta(gt=0, le=LONGEST_S)]
WallSeconds = Annotated[float, Meta(ge=0, le=LONGEST_WALL_S)]
Probability = Annotated[float, Meta(gt=0, le=1)]
Microvolts = Annotated[float, Meta(gt=0, le=1e6)]


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Something that goes wrong.

    Attributes
    ----------
    start_s : float
        When it begins, in data time: seconds of signal since the first sample played.
    """

    start_s: Start

    @property
    def kind(self) -> str:
        """What it is called in a faults file."""
        return str(self.__struct_config__.tag)

    @property
    def reach_s(self) -> float:
        """Data time over which it acts, in seconds; 0 for one sample."""
        return 0.0


class LastingFault(Fault, frozen=True, kw_only=True):
    """A fault that lasts.

    Attributes
    ----------
    length_s : float
        How long, in seconds of data time.
    """

    length_s: Length

    @property
    def reach_s(self) -> float:
        """Data time over which it acts, in seconds."""
        return self.length_s


class SignalFault(LastingFault, frozen=True, kw_only=True):
    """A fault of what the samples say.

    Attributes
    ----------
    channels : tuple of str
        Labels of the channels it hits; empty for every channel that is a voltage.
    """

    channels: tuple[str, ...] = ()


class Nan(SignalFault, frozen=True, kw_only=True, tag="nan"):
    """Not a number."""


class Flat(SignalFault, frozen=True, kw_only=True, tag="flat"):
    """A flat line, as from an electrode that fell off or a cable that was pulled.

    Attributes
    ----------
    level_uv : float
        Where it lies, in microvolts.
    """

    level_uv: Annotated[float, Meta(ge=-1e6, le=1e6)] = 0.0


class Saturation(SignalFault, frozen=True, kw_only=True, tag="saturation"):
    """An amplifier that is driven into its rails.

    Attributes
    ----------
    limit_uv : float
        Where the rails are, in microvolts on both sides of zero.
    drive : float
        How many times too large the signal is before it is cut off.
    """

    limit_uv: Microvolts = 500.0
    drive: Annotated[float, Meta(gt=0, le=1e6)] = 50.0


class Mains(SignalFault, frozen=True, kw_only=True, tag="mains"):
    """The hum of the mains on top of the signal.

    Attributes
    ----------
    hz : int
        50 or 60. Above half the rate of the recording there is none to be had.
    amplitude_uv : float
        Its amplitude in microvolts.
    """

    hz: Literal[50, 60] = 50
    amplitude_uv: Microvolts = 100.0


class Gain(SignalFault, frozen=True, kw_only=True, tag="gain"):
    """A gain that changes.

    Attributes
    ----------
    factor : float
        How many times larger the signal becomes; negative where the leads are swapped.
    """

    factor: Annotated[float, Meta(ge=-1e6, le=1e6)]


class Rate(LastingFault, frozen=True, kw_only=True, tag="rate"):
    """A sampling rate that is not the nominal one, in the stamps and in the pace of sending.

    Attributes
    ----------
    percent : float
        How much faster than nominal samples are taken; negative for slower.
    """

    percent: Annotated[float, Meta(ge=-50, le=50)]


class Drift(LastingFault, frozen=True, kw_only=True, tag="drift"):
    """A sender's clock that runs wrong; samples are taken and sent in time, but stamped wrongly.

    Attributes
    ----------
    ppm : float
        How much too fast the clock runs, in millionths; negative for too slow. What it has gained
        by the end stays.
    """

    ppm: Annotated[float, Meta(ge=-5e5, le=5e5)]


class Jump(Fault, frozen=True, kw_only=True, tag="jump"):
    """A sender's clock that is set: every stamp from here on is moved.

    Attributes
    ----------
    by_s : float
        How far, in seconds; negative for back.
    """

    by_s: Annotated[float, Meta(ge=-1e10, le=1e10)]


class TransportFault(LastingFault, frozen=True, kw_only=True):
    """A fault of whether and when samples are sent. No two of them at once."""


class Drop(TransportFault, frozen=True, kw_only=True, tag="drop"):
    """Chunks that get lost.

    Attributes
    ----------
    chunk_s : float
        Length of what is lost together, in seconds of data time; the time is cut into such pieces
        however the samples are pushed.
    probability : float
        How likely each piece is lost.
    """

    chunk_s: Length = 0.5
    probability: Probability = 1.0


class Duplicate(TransportFault, frozen=True, kw_only=True, tag="duplicate"):
    """Chunks that are sent again, with the same stamps, as soon as they are out.

    Attributes
    ----------
    chunk_s : float
        Length of what is repeated together, in seconds of data time.
    probability : float
        How likely each piece is repeated.
    """

    chunk_s: Length = 0.5
    probability: Probability = 1.0


class Late(TransportFault, frozen=True, kw_only=True, tag="late"):
    """Samples that are held back and then sent all at once, with their own stamps.

    Attributes
    ----------
    delay_s : float
        How much data time after the end of the hold they are sent. 0: a congested network, in
        order. More: whatever is sent meanwhile overtakes them, and stamps go backwards.
    """

    delay_s: Start = 0.0

    @property
    def reach_s(self) -> float:
        """Data time from the first sample held to the moment when all have been sent."""
        return self.length_s + self.delay_s


class Silence(TransportFault, frozen=True, kw_only=True, tag="silence"):
    """A sender that is there and says nothing, then goes on with a hole in the stamps.

    Attributes
    ----------
    wall_s : float
        Seconds on the wall's clock that it lasts at least, at any speed.
    """

    wall_s: WallSeconds = 0.0


class Disconnect(TransportFault, frozen=True, kw_only=True, tag="disconnect"):
    """A stream that leaves the network and comes back with a hole in the stamps.

    If it lasts to the end of what is played, it does not come back.

    Attributes
    ----------
    source_id : str
        Under which source_id it returns; empty for the one it left with.
    wall_s : float
        Seconds on the wall's clock that it stays away at least, at any speed.
    wait_s : float
        How long, by the wall's clock, the first sample after the return is held until somebody
        listens again. 0 for a device that does not wait: what it sends unheard is lost, and no
        log can know how much.
    """

    source_id: str = ""
    wall_s: WallSeconds = 0.0
    wait_s: WallSeconds = 30.0


class SecondStream(LastingFault, frozen=True, kw_only=True, tag="second-stream"):
    """Another stream of the same name, type and labels; its samples are ours with the sign turned.

    Attributes
    ----------
    source_id : str
        Its source_id; empty for that of the stream with ``-second`` after it.
    wall_s : float
        Seconds on the wall's clock that it stays at least, at any speed.
    """

    source_id: str = ""
    wall_s: WallSeconds = 0.0


KINDS: dict[str, type[Fault]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        Nan, Flat, Saturation, Mains, Gain, Rate, Drift, Jump,
        Drop, Silence, Disconnect, Late, Duplicate, SecondStream,
    )
}  # fmt: skip
"""Every kind of fault by its name."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong in one replay.

    Attributes
    ----------
    faults : tuple of Fault
        In any order of time. Where two change the same sample, the earlier in the tuple acts first.
    seed : int
        Where the chance of `Drop` and `Duplicate` comes from.
    """

    faults: tuple[Fault, ...] = ()
    seed: int = 0


NO_FAULTS = Faults()
"""Nothing goes wrong."""
