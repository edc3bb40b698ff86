"""Every figure of the shipped models, topic by topic.

In comes the data folder; out go topics, each with its tables and with what they were made of. Parts
of the data that are missing leave their topic out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sleepstream.corpora.catalogue import find
from sleepstream.errors import RecordingError
from sleepstream.stager import weights
from sleepstream.stager.disorder import DisorderScorer
from sleepstream.stager.imports import import_checkpoint
from sleepstream.stager.stager import Stager
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.decoder.data import FEATURES, HYPNOGRAMS, sha256
from sleepstream_training.evaluation import disorder, judged, metrics, stager, strangers
from sleepstream_training.evaluation.intervals import Figure, figure, resampled
from sleepstream_training.evaluation.methods import baselines
from sleepstream_training.evaluation.tables import Cell, Column, Table
from sleepstream_training.nights import Night, read_nights

ENCODER, DECODER, SCORE, JUDGE = "tinysleepnet", "gpt", "apnoea", "sleep-eeg"
RECORDINGS = Path("raw_eeg")
PUBLISHED = Path("third_party_weights") / "sleepgpt" / "gpt_shhs_60_48_3_6.pth.tar"
AMPLIFIERS = (
    *(stager.Amplifier(gain=gain) for gain in (0.3, 3.0)),
    *(stager.Amplifier(sfreq=sfreq) for sfreq in (64.0, 128.0, 200.0, 256.0, 500.0, 512.0)),
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Topic:
    """Tables that belong together.

    Attributes
    ----------
    name : str
        Name of its file.
    facts : dict
        Models and data that they were made of.
    tables : sequence of Table
        Names are unique over all topics.
    """

    name: str
    facts: dict[str, Any]
    tables: Sequence[Table]


def topics(data: Path, both_ways: ModelFiles | None, say: Say) -> Iterator[Topic]:
    """Yield the topics that the data allow.

    Parameters
    ----------
    data : Path
        Folder of the data.
    both_ways : ModelFiles or None
        A network that sees the future (`sleepstream_training.decoder.both_ways`), which tells what
        it costs not to.
    say : callable
        Told what is done.

    Raises
    ------
    RecordingError
        Nothing there to judge on.
    """
    parts = {HYPNOGRAMS: _hypnograms, FEATURES: _behind, RECORDINGS: _recordings}
    there = [part for path, part in parts.items() if (data / path).exists()]
    if both_ways and (data / FEATURES).exists():
        there.append(lambda data, say: _causality(data, both_ways, say))
    if not there:
        sought = ", ".join(str(path) for path in parts)
        raise RecordingError(f"{sought} in {data}", "none of them", "name the data's folder")
    for part in there:
        yield from part(data, say)


def _hypnograms(data: Path, say: Say) -> Iterator[Topic]:
    nights = read_nights([data / HYPNOGRAMS])
    names = judged.beside_on_hypnograms(DECODER)
    models = [weights.find(name, "decoder") for name in (*names, DECODER)]
    parts = judged.unseen(models, nights, everyone=False, say=say)
    made = judged.on_hypnograms(models, parts, [], say=say, on_night=_quiet)
    decoders = {model.name: model.fingerprint for model in models}
    facts = {"nights": sha256(data / HYPNOGRAMS), "decoders": decoders}
    yield Topic("decoder-hypnograms", facts, made)
    score = weights.find(SCORE, "disorder")
    if judged.trained_on(score) is None:
        say(f"{score.name} does not say whom it has learned from: no figures of it")
        return
    yield from _score(score, nights, sha256(data / HYPNOGRAMS), say)


def _score(score: ModelFiles, nights: Sequence[Night], digest: str, say: Say) -> Iterator[Topic]:
    try:
        parts = judged.unseen([score], nights, everyone=False, say=say)
    except RecordingError as error:
        say(str(error))
        return
    scorer = DisorderScorer.load(score, by_hand=True)
    made = [t for c in disorder.contrasts(parts.unseen) for t in disorder.tables(c, scorer)]
    yield Topic("disorder", {"nights": digest, "disorder": score.fingerprint}, made)


def _behind(data: Path, say: Say) -> Iterator[Topic]:
    with tempfile.TemporaryDirectory() as folder:
        beside = [weights.find(name, "decoder") for name in judged.BESIDE_BEHIND]
        if (data / PUBLISHED).is_file():
            beside.append(import_checkpoint(data / PUBLISHED, "published SleepGPT", Path(folder)))
        models = [*beside, weights.find(DECODER, "decoder")]
        lines = data / HYPNOGRAMS
        nights = read_nights([lines]) if lines.is_file() else []
        made = judged.behind_features(models, data / FEATURES, nights, say=say, on_night=_quiet)
    facts = {
        "features": sha256(data / FEATURES),
        "decoders": {model.name: model.fingerprint for model in models},
    }
    yield Topic("decoder-behind", facts, made)


def _causality(data: Path, both_ways: ModelFiles, say: Say) -> Iterator[Topic]:
    models = [both_ways, weights.find(DECODER, "decoder")]
    table = judged.causality(models, data / FEATURES, say=say)
    facts = {
        "features": sha256(data / FEATURES),
        "decoders": {model.name: model.fingerprint for model in models},
    }
    yield Topic("causality", facts, [table])


def _recordings(data: Path, say: Say) -> Iterator[Topic]:
    shipped = [model for model in weights.available() if model.kind == "encoder"]
    names = sorted(model.name for model in shipped)
    by_encoder = {name: _staged(data, name, stager.Amplifier(), say) for name in names}
    made = stager.tables(by_encoder[ENCODER], DECODER, baselines(()))
    made += [_encoders(by_encoder), _robustness(data, by_encoder[ENCODER], say)]
    facts = {
        "recordings": {f.psg.name: sha256(f.psg) for f in find(data / RECORDINGS)},
        "encoders": {name: weights.find(name).fingerprint for name in names},
        "decoder": weights.find(DECODER).fingerprint,
    }
    yield Topic("stager", facts, made)
    yield _strangers(data, say)


def _strangers(data: Path, say: Say) -> Topic:
    say("staging what is no sleep EEG")
    found = {one.psg.stem: one.open() for one in find(data / RECORDINGS)}
    made = strangers.table(strangers.Beds(_bed(ENCODER, JUDGE), _bed(ENCODER, "none")), found)
    names = (ENCODER, DECODER, JUDGE)
    return Topic("strangers", {name: weights.find(name).fingerprint for name in names}, [made])


def _bed(encoder: str, judge: str) -> Stager:
    return Stager.load(
        encoder=encoder,
        decoder=DECODER,
        disorder=SCORE,
        familiarity=judge,
        device=torch.device("cpu"),
        bed="evaluation",
    )


def _staged(data: Path, encoder: str, amplifier: stager.Amplifier, say: Say) -> list[stager.Staged]:
    say(f"staging the recordings with {encoder}, {_named(amplifier)}")
    bed = _bed(encoder, JUDGE)
    return [
        stager.stage(one.open(), bed, amplifier, min_valid=0.8, tell=lambda e: say(e.text))
        for one in find(data / RECORDINGS)
    ]


def _named(amplifier: stager.Amplifier) -> str:
    if amplifier.sfreq:
        return f"at {amplifier.sfreq:g} Hz"
    return "as recorded" if amplifier.gain == 1.0 else f"gain x{amplifier.gain:g}"


def _encoders(by_encoder: dict[str, list[stager.Staged]]) -> Table:
    columns = [
        Column("encoder"),
        Column("recording"),
        Column("alone: accuracy"),
        Column("alone: kappa"),
        Column("alone: macro-F1"),
        Column(f"with {DECODER}: accuracy"),
        Column(f"with {DECODER}: kappa"),
        Column(f"with {DECODER}: macro-F1"),
    ]
    rows: list[list[Cell]] = [
        [name, one.origin.record, *_summary(one, one.encoder), *_summary(one, one.said.now)]
        for name, staged in by_encoder.items()
        for one in staged
    ]
    return Table("encoders", "The encoders that ship", columns, rows)


def _robustness(data: Path, plain: Sequence[stager.Staged], say: Say) -> Table:
    columns = [
        Column("recording"),
        Column("signal"),
        Column("accuracy"),
        Column("kappa"),
        Column("macro-F1"),
        Column("kappa, change", sign=True),
    ]
    rows: list[list[Cell]] = []
    signals: dict[str, Sequence[stager.Staged]] = {_named(stager.Amplifier()): plain}
    signals |= {_named(each): _staged(data, ENCODER, each, say) for each in AMPLIFIERS}
    for name, changed in signals.items():
        for before, one in zip(plain, changed, strict=True):
            found, was = _summary(one, one.said.now), _summary(before, before.said.now)
            change = Figure(found[1].value - was[1].value)
            rows.append([one.origin.record, name, *found, change])
    title = "The same recordings through other amplifiers"
    return Table("robustness", title, columns, sorted(rows, key=lambda row: str(row[0])))


def _summary(one: stager.Staged, probs: metrics.Array) -> list[Figure]:
    group = resampled(["one"], [metrics.count(one.stages, probs)])
    return [figure(f, group) for f in (metrics.accuracy, metrics.kappa, metrics.macro_f1)]


def _quiet() -> None:
    """Tell nobody that a night is done."""
