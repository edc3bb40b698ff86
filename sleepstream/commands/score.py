"""``sleepstream score``: a recording in, the night out, by the same engine as live."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from sleepstream.commands.record import Record
from sleepstream.commands.setup import console, epocher, load_stager, writing
from sleepstream.config import Settings
from sleepstream.errors import SettingsError
from sleepstream.hypnogram import Hypnogram, agreement
from sleepstream.messages import EPOCH_S, STAGES, Event, StageEstimate, stage_name
from sleepstream.outputs.sink import Collected
from sleepstream.outputs.text import NightReport, json_line, summary_table
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.montage import choose_all
from sleepstream.sources.recording import Recording
from sleepstream.store.nights import IN_MEMORY, NightStore

OUT_SUFFIXES = (".csv", ".jsonl")
_STAGE_COLUMNS = tuple(stage.name for stage in STAGES)
CSV_HEADER = ("epoch", "onset", "stage", *_STAGE_COLUMNS, "confidence", "quality", "derivation")
END = "end of the recording"


def score(settings: Settings, path: Path, *, store: bool, out: Path | None, as_json: bool) -> int:
    """Stage a recording and print what came out.

    Parameters
    ----------
    settings : Settings
        In force.
    path : Path
        The recording.
    store : bool
        Whether the night goes on record.
    out : Path or None
        File for the estimates, ``.csv`` or ``.jsonl``.
    as_json : bool
        Print one JSON object instead of tables.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        Anything that keeps the recording from being staged.
    """
    if out and out.suffix not in OUT_SUFFIXES:
        raise SettingsError(
            f"an output file ending in {' or '.join(OUT_SUFFIXES)}", str(out), "rename it"
        )
    say = console()
    recording = Recording(path)
    collected = Collected()
    report = _stage(settings, recording, collected, say, store=store)
    if not collected.estimates:
        say.print(f"no epoch of {EPOCH_S:g} s is whole in {recording.duration_s:.1f} s of signal")
    if out:
        _write(collected.estimates, out)
        say.print(f"{len(collected.estimates)} estimates written to {out}")
    if as_json:
        estimates = [estimate.as_json() for estimate in collected.estimates]
        json.dump(report.as_json() | {"estimates": estimates}, sys.stdout)
        sys.stdout.write("\n")
    else:
        Console().print(summary_table(report), crop=False)
    return 0


def _stage(
    settings: Settings, recording: Recording, collected: Collected, say: Console, *, store: bool
) -> NightReport:
    """Stage the recording from beginning to end."""
    choices = choose_all(
        recording.labels, recording.units, settings.derivations(), settings.stream.units
    )
    for note in filter(None, (choices.note, recording.note)):
        say.print(note)
    recording = recording.only(choices.picks)  # at its own rate, if the file has several
    again = [montage.label for montage in choices.montages]
    choices = choose_all(recording.labels, recording.units, again, settings.stream.units)
    stager = load_stager(settings, say)
    with ExitStack() as stack:
        nights = NightStore(settings.store_path() if store else IN_MEMORY)
        record = Record(
            stack.enter_context(nights),
            settings,
            say.print,
            source=recording.path.name,
            channel=choices.label,
            sfreq=recording.sfreq,
            started_utc=recording.started_utc or datetime.now(UTC),
            synthetic=False,
        )
        progress = stack.enter_context(Progress(console=say, transient=True))
        task = progress.add_task(f"staging {choices.label}", total=recording.duration_s)

        def tell(event: Event) -> None:
            say.print(event.text)
            record.tell(event)

        stage_recording(
            recording.chunks(choices.picks, choices.scales),
            Bed(epocher(settings, recording.sfreq, choices), stager, keep=record.keep),
            [record, collected],
            tell,
            lambda seconds: progress.update(task, completed=seconds),
        )
        record.end(END)
    stages = [estimate.stage for estimate in collected.estimates]
    reference = recording.reference()
    return NightReport(
        bed=settings.night.bed,
        night=record.night_id if store else None,
        store=settings.store_path() if store else None,
        ended=END,
        n_epochs=len(stages),
        statistics=Hypnogram(stages).statistics(),
        n_doubted=sum(estimate.quality.doubted for estimate in collected.estimates),
        agreement=agreement(reference[: len(stages)], stages) if reference else None,
    )


def _write(estimates: Sequence[StageEstimate], out: Path) -> None:
    """Write estimates as lines of JSON or as a table, by the file's ending."""
    with writing(out) as file:
        if out.suffix == ".jsonl":
            file.writelines(json_line(estimate) + "\n" for estimate in estimates)
        else:
            csv.writer(file).writerows([CSV_HEADER, *map(_csv_row, estimates)])


def _csv_row(estimate: StageEstimate) -> list[str | float]:
    return [
        estimate.epoch,
        estimate.onset_s,
        stage_name(estimate.stage),
        *(float(p) for p in estimate.probs),
        estimate.confidence,
        estimate.quality.score,
        estimate.derivation,
    ]
