"""``sleepstream decode``: another stager's probabilities in, the corrected night out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from sleepstream.commands.setup import console, writing
from sleepstream.config import Settings
from sleepstream.corpora.probabilities import Probabilities, parse
from sleepstream.corpora.tables import read_text
from sleepstream.hypnogram import Hypnogram, SleepStatistics
from sleepstream.messages import EPOCH_S, STAGES, Float32Array, Stage, stage_name
from sleepstream.outputs.text import statistics_table
from sleepstream.stager import device, weights
from sleepstream.stager.decoder import Decoder, DecoderOutput
from sleepstream.stager.decoders import load_decoder

STANDARD_INPUT = "-"
CSV_HEADER = (
    *("epoch", "onset", "given", "stage"),
    *(s.name for s in STAGES),
    *(f"next_{s.name}" for s in STAGES),
    *("p_wake_5min", "p_rem_5min"),
)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedEpoch:
    """One epoch, as it was given and as it was corrected.

    Attributes
    ----------
    epoch : int
        Its number, as the table counts.
    onset_s : float
        When it begins, in seconds.
    given, stage : Stage or None
        The most probable stage before and after; None where the epoch was unscorable.
    said : DecoderOutput
        What the decoder says.
    """

    epoch: int
    onset_s: float
    given: Stage | None
    stage: Stage | None
    said: DecoderOutput

    def as_row(self) -> list[str | float | np.float32]:
        """Return the epoch as a row below `CSV_HEADER`."""
        return [
            self.epoch,
            self.onset_s,
            stage_name(self.given),
            stage_name(self.stage),
            *self.said.probs,
            *self.said.forecast[0],
            self.said.p_wake_5min,
            self.said.p_rem_5min,
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the epoch as the documented JSON object (see ``docs/decode.md``)."""
        return {
            "epoch": self.epoch,
            "onset": self.onset_s,
            "given": stage_name(self.given),
            "stage": stage_name(self.stage),
            "probs": _numbers(self.said.probs),
            "next_probs": _numbers(self.said.forecast[0]),
            "p_wake_5min": self.said.p_wake_5min,
            "p_rem_5min": self.said.p_rem_5min,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """What the decoder did to a night.

    Attributes
    ----------
    decoder, model : str
        Its name, and twelve hexadecimal digits that stand for it.
    n_epochs, n_unscorable, n_changed : int
        Epochs in all, without probabilities, and with another stage than before.
    n_transitions_given, n_transitions : int
        Changes from a stage to another, across unscorable epochs too, before and after.
    statistics : SleepStatistics
        The corrected night in numbers.
    """

    decoder: str
    model: str
    n_epochs: int
    n_unscorable: int
    n_changed: int
    n_transitions_given: int
    n_transitions: int
    statistics: SleepStatistics

    def as_json(self) -> dict[str, Any]:
        """Return the summary as the documented JSON object (see ``docs/decode.md``)."""
        return {
            "decoder": self.decoder,
            "model": self.model,
            "n_epochs": self.n_epochs,
            "n_unscorable": self.n_unscorable,
            "n_changed": self.n_changed,
            "n_transitions": {"given": self.n_transitions_given, "decoded": self.n_transitions},
            "statistics": self.statistics.as_json(),
        }

    def table(self) -> RenderableType:
        """Return the summary for a person."""
        lines = (
            f"{self.n_epochs} epochs, {self.n_unscorable} unscorable; {self.n_changed} changed",
            f"changes of stage: {self.n_transitions_given} as given, {self.n_transitions} decoded",
        )
        return Group(*map(Text, lines), statistics_table(self.statistics))


def decode(settings: Settings, path: Path, *, out: Path | None, as_json: bool) -> int:
    """Correct a night that another stager has staged, and print what came out.

    Parameters
    ----------
    settings : Settings
        In force: which decoder, and where it runs.
    path : Path
        A table of probabilities (see `sleepstream.corpora.probabilities`); ``-`` is standard input.
    out : Path or None
        File for the corrected epochs, as CSV.
    as_json : bool
        Print one JSON object instead of a table.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        Anything that keeps the night from being decoded.
    """
    say = console()
    given = parse(*_read(path))
    chosen, reason = device.choose(settings.models.device)
    device.single_thread()
    decoder = load_decoder(weights.find(settings.models.decoder, "decoder"), chosen)
    say.print(f"decoder: {decoder.name} ({decoder.sha256[:12]}) on {reason}")
    if given.n_left_out:
        say.print(f"{given.n_left_out} epochs are not in the table: unscorable")
    epochs = corrected(given, decoder)
    summary = summarise(epochs, decoder)
    if out:
        with writing(out) as file:
            csv.writer(file).writerows([CSV_HEADER, *(epoch.as_row() for epoch in epochs)])
        say.print(f"{len(epochs)} epochs written to {out}")
    if as_json:
        json.dump(summary.as_json() | {"epochs": [e.as_json() for e in epochs]}, sys.stdout)
        sys.stdout.write("\n")
    else:
        Console().print(summary.table())
    return 0


def _read(path: Path) -> tuple[str, str]:
    """Return the text of the table and what to call it."""
    if str(path) != STANDARD_INPUT:
        return read_text(path), path.name
    return sys.stdin.buffer.read().decode("utf-8-sig", errors="replace"), "standard input"


def corrected(given: Probabilities, decoder: Decoder) -> list[DecodedEpoch]:
    """Pass a night through a decoder, epoch by epoch: none of them sees those after it.

    Parameters
    ----------
    given : Probabilities
        The night.
    decoder : Decoder
        At the start of a night.

    Returns
    -------
    list of DecodedEpoch
        As many as there are rows.
    """
    epochs = []
    for index, row in enumerate(given.rows):
        said = decoder.step(row)
        epochs.append(
            DecodedEpoch(
                epoch=given.first + index,
                onset_s=given.onset_s + EPOCH_S * index,
                given=_stage(row, row),
                stage=_stage(row, said.probs),
                said=said,
            )
        )
    return epochs


def summarise(epochs: Sequence[DecodedEpoch], decoder: Decoder) -> Summary:
    """Return what `decoder` did to the night."""
    return Summary(
        decoder=decoder.name,
        model=decoder.sha256[:12],
        n_epochs=len(epochs),
        n_unscorable=sum(epoch.stage is None for epoch in epochs),
        n_changed=sum(epoch.stage is not epoch.given for epoch in epochs),
        n_transitions_given=_n_transitions(epoch.given for epoch in epochs),
        n_transitions=_n_transitions(epoch.stage for epoch in epochs),
        statistics=Hypnogram(epoch.stage for epoch in epochs).statistics(),
    )


def _stage(row: Float32Array | None, probs: Float32Array | None) -> Stage | None:
    return None if row is None or probs is None else Stage(int(probs.argmax()))


def _n_transitions(stages: Iterable[Stage | None]) -> int:
    scored = [stage for stage in stages if stage is not None]
    return sum(a is not b for a, b in pairwise(scored))


def _numbers(row: Float32Array) -> list[float]:
    return [float(value) for value in row]
