"""Channel labels become the derivation that is staged, and those that may take its place.

Enters: the labels and units that a stream or a file declares, and what the user asked for. Leaves:
a `Montage`, which says which channels to take, how to bring them to microvolts and how to combine
them; or `Choices`, which are several of them, the best first.

Labels are compared without case, without a leading ``EEG``, with ``:``, ``_`` and blanks read as
``-``, and with A1/A2 and M1/M2 as two names for the mastoids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sleepstream.errors import ChannelError
from sleepstream.messages import Float32Array
from sleepstream.signal.units import UNITS

PREFERRED = (
    *("Fpz-Cz", "C4-M1", "C3-M2", "F4-M1", "F3-M2", "Fz-Cz", "Cz-Oz", "Pz-Oz"),
    *("O2-M1", "O1-M2", "Fp2-M1", "Fp1-M2", "AF8", "AF7", "Fpz", "Fp2", "Fp1"),
    *("C4", "C3", "Cz", "F4", "F3", "Fz"),
)
"""What is staged when nobody says, best first: the manual's frontal and central leads."""

MASTOIDS = ("M1", "M2")
_JOINED = re.compile(r"(FPZ|FZ|CZ|PZ|OZ|(?:FP|AF|[CEFOPT])\d{1,2})([AM][12])")  # "C4A1"
_BOTH_MASTOIDS = {"MASTOIDS", "M1M2", "(M1+M2)/2", "M1+M2", "LM"}
_NOT_EEG = re.compile(
    r"\b(EOG|EMG|ECG|EKG|CHIN|LEG|SPO2|PULSE|RESP|FLOW|TEMP|SNORE|EVENT|MARKER|TRIG|STI|STATUS"
    r"|ACC|GYRO|LIGHT|BATTERY|COUNTER|TIMESTAMPS?)",
    re.IGNORECASE,
)
# beside the words: mne-lsl writes the power of ten of a volt
_UNIT_NAMES = {
    "V": {"v", "volt", "volts", "0"},
    "mV": {"mv", "millivolt", "millivolts", "-3"},
    "uV": {"uv", "µv", "μv", "microvolt", "microvolts", "micro volt", "micro volts", "-6"},
    "nV": {"nv", "nanovolt", "nanovolts", "-9"},
}


@dataclass(frozen=True, slots=True)
class Montage:
    """How to make one derivation out of the channels of a stream.

    Attributes
    ----------
    label : str
        Name of the derivation, such as ``"C4-M1"``.
    picks : tuple of int
        Channels to take from the stream, in this order.
    references : int
        How many of them, at the end, are the reference (their mean is subtracted).
    scales : tuple of float
        Microvolts in one unit of each picked channel.
    unit : str
        The declared or given unit of the first one: ``"V"``, ``"mV"``, ``"uV"`` or ``"nV"``.
    note : str
        What the user should know about how this came about; empty if nothing.
    """

    label: str
    picks: tuple[int, ...]
    references: int
    scales: tuple[float, ...]
    unit: str
    note: str = ""

    def derive(self, data: Float32Array) -> Float32Array:
        """Combine the picked channels.

        Parameters
        ----------
        data : ndarray of float32, shape (len(picks), n_samples)
            Microvolts.

        Returns
        -------
        ndarray of float32, shape (n_samples,)
            The derivation; NaN where any channel it needs is NaN.
        """
        derived: Float32Array = data[0].copy()
        with np.errstate(over="ignore", invalid="ignore"):  # absurd values become missing ones
            if self.references == 1:
                derived -= data[1]
            elif self.references == 2:
                derived -= (data[1] + data[2]) * np.float32(0.5)
        return derived


@dataclass(frozen=True, slots=True)
class Choices:
    """The derivations that may be staged, the best first.

    Attributes
    ----------
    montages : tuple of Montage
        At least one.
    """

    montages: tuple[Montage, ...]

    @property
    def label(self) -> str:
        """Names of the derivations: ``"C4-M1, C3-M2"``."""
        return ", ".join(montage.label for montage in self.montages)

    @property
    def unit(self) -> str:
        """The unit of the first one."""
        return self.montages[0].unit

    @property
    def note(self) -> str:
        """What the user should know about how this came about; empty if nothing."""
        return "; ".join(montage.note for montage in self.montages if montage.note)

    @property
    def picks(self) -> tuple[int, ...]:
        """Channels to take from the stream, each once, in this order."""
        return tuple(self._scale_of)

    @property
    def scales(self) -> tuple[float, ...]:
        """Microvolts in one unit of each picked channel."""
        return tuple(self._scale_of.values())

    @property
    def _scale_of(self) -> dict[int, float]:
        pairs = (zip(m.picks, m.scales, strict=True) for m in self.montages)
        return {pick: scale for each in pairs for pick, scale in each}

    def derive(self, data: Float32Array) -> list[Float32Array]:
        """Make each derivation.

        Parameters
        ----------
        data : ndarray of float32, shape (len(picks), n_samples)
            Microvolts.

        Returns
        -------
        list of ndarray of float32, shape (n_samples,)
            NaN where any channel that it needs is NaN.
        """
        row = {pick: number for number, pick in enumerate(self.picks)}
        return [m.derive(data[[row[pick] for pick in m.picks]]) for m in self.montages]


def choose_all(
    labels: Sequence[str], units: Sequence[str], channels: Sequence[str] = (), unit: str = ""
) -> Choices:
    """Find all derivations that a user asked for.

    Parameters
    ----------
    labels, units, unit
        As for `choose`.
    channels : sequence of str, optional
        What to stage, the best first; empty: the best that is there, alone.

    Returns
    -------
    Choices

    Raises
    ------
    ChannelError
        One of them is not there (a slip should not be found out at night), or they are not
        different.
    """
    found = tuple(choose(labels, units, channel, unit) for channel in channels or ("",))
    if len({(montage.picks, montage.references) for montage in found}) < len(found):
        raise ChannelError(
            "derivations that differ, to take each other's place",
            f"the same one twice among {', '.join(channels)}",
            "name each once, in [[channels]] or with --channel",
        )
    return Choices(found)


def choose(
    labels: Sequence[str], units: Sequence[str], channel: str = "", unit: str = ""
) -> Montage:
    """Find the derivation a user asked for among the channels there are.

    Parameters
    ----------
    labels : sequence of str
        Channel labels as declared.
    units : sequence of str
        Declared unit of each; empty where nothing was declared.
    channel : str, optional
        A label, a derivation such as ``C4-M1`` made from single electrodes, or ``C4-mastoids`` for
        the mean of both. Empty: the best that is there.
    unit : str, optional
        Overrides the declared units: V, mV, uV or nV.

    Returns
    -------
    Montage

    Raises
    ------
    ChannelError
        No such channel, two of that name, or a unit that is unknown.
    """
    names = [normalise(label) for label in labels]
    note = ""
    if channel:
        found = _find(names, labels, channel)
        if found is None:
            raise ChannelError(
                f"a channel or derivation {channel!r}",
                f"these channels: {_listed(labels)}",
                "name one with --channel, or two joined by a minus to re-reference (C4-M1)",
            )
    else:
        found = _best(names, labels)
        if len(labels) > 1:
            note = f"no channel was asked for; staging {found[2]} (choose with --channel)"
    picks, references, label = found
    known = [_unit_of(labels[pick], units[pick], unit) for pick in picks]
    if not unit and not any(units[pick].strip() for pick in picks):
        warning = f"{label} declares no unit; taken as microvolts (say otherwise with --units)"
        note = f"{note}; {warning}" if note else warning
    return Montage(label, picks, references, tuple(UNITS[u] for u in known), known[0], note)


def normalise(label: str) -> str:
    """Return a label in the form in which labels are compared.

    >>> normalise("EEG c4:a1")
    'C4-M1'
    """
    name = re.sub(r"[\s:_]+", "-", label.strip().upper())
    name = re.sub(r"^EEG-+(?=.)", "", name)
    name = re.sub(r"-REF$", "", name)
    if joined := _JOINED.fullmatch(name):
        name = "-".join(joined.groups())
    return re.sub(r"\bA([12])\b", r"M\1", name)


def parse_unit(text: str) -> str | None:
    """Return ``"V"``, ``"mV"``, ``"uV"`` or ``"nV"`` for the ways in which they are written."""
    folded = text.strip().casefold()
    return next((unit for unit, names in _UNIT_NAMES.items() if folded in names), None)


_Found = tuple[tuple[int, ...], int, str]


def _find(names: list[str], labels: Sequence[str], channel: str) -> _Found | None:
    wanted = normalise(channel)
    whole = _index(names, labels, wanted)
    if whole is not None:
        return (whole,), 0, labels[whole]
    active, _, reference = wanted.partition("-")
    first = _index(names, labels, active)
    if first is None or not reference:
        return None
    if reference in _BOTH_MASTOIDS:
        both = [_index(names, labels, mastoid) for mastoid in MASTOIDS]
        if both[0] is None or both[1] is None:
            return None
        return (first, both[0], both[1]), 2, f"{active}-mastoids"
    second = _index(names, labels, reference)
    return None if second is None else ((first, second), 1, f"{active}-{reference}")


def _best(names: list[str], labels: Sequence[str]) -> _Found:
    for candidate in PREFERRED:
        # a label that stands twice is no choice to make for the user
        if names.count(normalise(candidate)) <= 1 and (found := _find(names, labels, candidate)):
            return found
    for index, label in enumerate(labels):
        if not _NOT_EEG.search(label):
            return (index,), 0, label
    raise ChannelError(
        "an EEG channel", f"only these: {_listed(labels)}", "name the one to stage with --channel"
    )


def _index(names: list[str], labels: Sequence[str], wanted: str) -> int | None:
    hits = [index for index, name in enumerate(names) if name == wanted]
    if len(hits) > 1:
        raise ChannelError(
            f"one channel {wanted!r}",
            f"{len(hits)} of that name: {_listed([labels[hit] for hit in hits])}",
            "give the channels distinct labels at the sender",
        )
    return hits[0] if hits else None


def _unit_of(label: str, declared: str, override: str) -> str:
    text = override or declared
    if not text.strip():
        return "uV"
    unit = parse_unit(text)
    if unit is None:
        raise ChannelError(
            f"a unit of voltage for channel {label!r} (V, mV, uV, microvolts)",
            f"{text!r}",
            "mend the unit at the sender, or give the true one with --units uV",
        )
    return unit


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:32])
    return shown + (f" and {len(labels) - 32} more" if len(labels) > 32 else "")
