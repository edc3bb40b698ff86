"""``sleepstream evaluate``: models and scored nights in, tables out.

What is counted, and how, is in `sleepstream_training.evaluation`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from sleepstream.commands.setup import console, load_stager
from sleepstream.commands.train import require_extra
from sleepstream.config import Settings
from sleepstream.corpora.catalogue import find
from sleepstream.errors import ChannelError, RecordingError
from sleepstream.plain import printable_json
from sleepstream.stager import device, weights

if TYPE_CHECKING:
    from sleepstream_training.evaluation.tables import Table


def decoder(
    nights: Sequence[Path],
    name: str,
    *,
    beside: Sequence[str],
    training: Sequence[Path],
    everyone: bool,
    features: Path | None,
    as_json: bool,
) -> int:
    """Judge a decoder on hypnograms, behind a features-only encoder, or both.

    Parameters
    ----------
    nights : sequence of Path
        Hypnograms; may be empty where there are features.
    name : str
        The decoder.
    beside : sequence of str
        Other decoders in the same tables; by default some that ship.
    training : sequence of Path
        Hypnograms to fit baselines on.
    everyone : bool
        Judge on subjects that the decoder has learned from, too.
    features : Path or None
        Spectral features.
    as_json : bool
        Print one JSON object instead of tables.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        Anything that keeps it from being judged.
    """
    if features:
        require_extra()
    device.single_thread()
    from sleepstream_training.evaluation import judged  # noqa: PLC0415 - imports torch
    from sleepstream_training.nights import read_nights  # noqa: PLC0415

    say, model = console().print, weights.find(name, "decoder")
    tables: list[Table] = []

    def models(others: Sequence[str]) -> list[weights.ModelFiles]:
        chosen = [other for other in beside or others if other != name]
        return [*(weights.find(other, "decoder") for other in chosen), model]

    if nights:
        every = models(judged.beside_on_hypnograms(name))
        parts = judged.unseen(every, read_nights(nights), everyone=everyone, say=say)
        fitting = read_nights(training)
        with _counting("judging", len(parts.unseen)) as tick:
            tables += judged.on_hypnograms(every, parts, fitting, say=say, on_night=tick)
    if features:
        every = models(judged.BESIDE_BEHIND)
        with _counting("judging behind an encoder", None) as tick:
            tables += judged.behind_features(every, features, say=say, on_night=tick)
    return _show({"decoder": _identity(model)}, tables, as_json=as_json)


def stager(
    settings: Settings,
    files: Sequence[Path],
    *,
    corpus: str | None,
    gain: float,
    sfreq: float,
    training: Sequence[Path] = (),
    alone: bool = False,
    as_json: bool,
) -> int:
    """Judge encoder and decoder on scored recordings.

    Parameters
    ----------
    settings : Settings
        In force.
    files : sequence of Path
        Recordings, or folders of them.
    corpus : str or None
        Which corpus it is, where the names of the files do not say.
    gain, sfreq : float
        What is done to the signal first; 0 Hz for its own rate.
    training : sequence of Path
        Hypnograms to fit baselines on.
    alone : bool
        Judge the encoder without a decoder.
    as_json : bool
        Print one JSON object instead of tables.

    Returns
    -------
    int
        0, or the exit code of `RecordingError` where a recording could not be read; the others are
        judged.

    Raises
    ------
    SleepstreamError
        Anything that keeps all of them from being judged.
    """
    from sleepstream_training.evaluation import stager as judge  # noqa: PLC0415 - imports torch
    from sleepstream_training.evaluation.methods import baselines  # noqa: PLC0415
    from sleepstream_training.nights import read_nights  # noqa: PLC0415

    say = console()
    found = [one for path in files for one in find(path, corpus)]
    fitted = None if alone else baselines(read_nights(training))
    bed, amplifier = load_stager(settings, say), judge.Amplifier(gain, sfreq)
    channel, *spare = settings.derivations() or ("",)
    if spare:
        say.print(f"judged on {channel} alone, without {', '.join(spare)} to take its place")
    staged = []
    with _counting("staging", len(found)) as tick:
        for one in found:
            try:
                opened = one.open(channel, settings.stream.units)
                staged.append(
                    judge.stage(
                        opened,
                        bed,
                        amplifier,
                        min_valid=settings.staging.min_valid,
                        tell=lambda event: say.print(event.text),
                    )
                )
            except (RecordingError, ChannelError) as error:
                say.print(f"sleepstream: {one.psg}: {error}")
            tick()
    if not staged:
        raise RecordingError(
            "a scored recording", f"none of {len(found)} could be read", "see the reasons above"
        )
    ours = judge.ENCODER if alone else settings.models.decoder
    facts = {
        "encoder": _identity(weights.find(settings.models.encoder, "encoder")),
        "decoder": None if alone else _identity(weights.find(settings.models.decoder, "decoder")),
        "gain": gain,
        "resampled_to": sfreq or None,
    }
    _show(facts, judge.tables(staged, ours, fitted), as_json=as_json)
    return RecordingError.exit_code if len(staged) < len(found) else 0


def disorder(paths: Sequence[Path], name: str, *, everyone: bool, as_json: bool) -> int:
    """Judge the overnight score, database by database.

    Parameters
    ----------
    paths : sequence of Path
        Hypnograms with what is known of the sleeper.
    name : str
        The score.
    everyone : bool
        Judge on subjects that it has learned from, too.
    as_json : bool
        Print one JSON object instead of tables.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    RecordingError
        No database has enough nights with and without.
    """
    require_extra()
    from sleepstream_training.evaluation import disorder as judge  # noqa: PLC0415
    from sleepstream_training.evaluation import judged  # noqa: PLC0415
    from sleepstream_training.nights import read_nights  # noqa: PLC0415

    from sleepstream.stager.disorder import DisorderScorer  # noqa: PLC0415 - imports torch

    model = weights.find(name, "disorder")
    parts = judged.unseen([model], read_nights(paths), everyone=everyone, say=console().print)
    contrasts = judge.contrasts(parts.unseen)
    if not contrasts:
        raise RecordingError(
            f"{judge.MIN_CASES} nights of one database with a disorder, and as many without",
            f"no database with so many among {len(parts.unseen)} nights",
            "give lines with ahi or diagnosis (docs/evaluation.md)",
        )
    scorer, tables = DisorderScorer.load(model, by_hand=True), []
    with _counting("scoring", sum(len(contrast.nights) for contrast in contrasts)) as tick:
        for contrast in contrasts:
            tables += judge.tables(contrast, scorer, tick)
    return _show({"disorder": _identity(model)}, tables, as_json=as_json)


def everything(
    data: Path, *, both_ways: Path | None, figures: Path | None, documents: Sequence[Path]
) -> int:
    """Make every figure of the shipped models anew.

    Parameters
    ----------
    data : Path
        Folder of the data.
    both_ways : Path or None
        A decoder that sees the future, to be judged beside the one that ships.
    figures : Path or None
        Folder for JSON files, one a topic.
    documents : sequence of Path
        Markdown files with markers.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        Data are missing, or something cannot be written.
    """
    require_extra()
    device.single_thread()
    from sleepstream_training.evaluation import everything as judge  # noqa: PLC0415
    from sleepstream_training.evaluation.documents import write, write_json  # noqa: PLC0415

    say = console().print
    tables: dict[str, Table] = {}
    seeing = weights.find(str(both_ways), "decoder") if both_ways else None
    for topic in judge.topics(data, seeing, say):
        tables |= {table.name: table for table in topic.tables}
        for table in topic.tables:
            table.show()
        if figures:
            write_json(figures / f"{topic.name}.json", topic.facts, topic.tables)
    for document in documents:
        for name in write(document, tables):
            say(f"{document} asks for figures called {name}, which there are not")
    return 0


def _identity(model: weights.ModelFiles) -> dict[str, str]:
    return {"name": model.name, "fingerprint": model.fingerprint}


def _show(facts: Mapping[str, Any], tables: Sequence[Table], *, as_json: bool) -> int:
    if as_json:
        tree = dict(facts) | {"tables": [table.as_json() for table in tables]}
        sys.stdout.write(printable_json(json.dumps(tree, ensure_ascii=False)) + "\n")
        return 0
    for table in tables:
        table.show()
        sys.stdout.write("\n")
    return 0


@contextmanager
def _counting(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show how many are done."""
    say = console()
    with Progress(console=say, transient=True, disable=not say.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
