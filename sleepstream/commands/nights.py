"""``sleepstream rescore`` and ``sleepstream export``: what can be done with a night on record."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from sleepstream.commands.record import WAIT_S, Record
from sleepstream.commands.setup import console, load_stager
from sleepstream.config import Settings
from sleepstream.errors import SettingsError, StoreError
from sleepstream.hypnogram import Hypnogram
from sleepstream.outputs.exports import write_edf, write_npz
from sleepstream.outputs.sink import Collected
from sleepstream.outputs.text import NightReport, summary_json, summary_table
from sleepstream.store.nights import NightStore, NightSummary

SIGNALS = (".edf", ".npz")


def rescore(settings: Settings, which: str, *, as_json: bool) -> int:
    """Stage a night on record once more, with the models in force, into a night of its own.

    Parameters
    ----------
    settings : Settings
        In force; the bed is that of the night.
    which : str
        The night, as `NightStore.find` takes it.
    as_json : bool
        Print one JSON object instead of a table.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        No such night, its signal was not kept, or a model is missing.
    """
    say = console()
    with NightStore(settings.store_path(), WAIT_S) as store:
        night = store.find(which)
        before = [estimate.stage for estimate in store.estimates(night.id)]
        report, collected = _restage(settings, store, night, say)
    stages = [estimate.stage for estimate in collected.estimates]
    n_same = sum(one is other for one, other in zip(before, stages, strict=True))
    say.print(f"{n_same} of {len(stages)} epochs have the stage that they had in night {night.id}")
    if as_json:
        Console(highlight=False, markup=False, soft_wrap=True).print(summary_json(report))
    else:
        Console().print(summary_table(report), crop=False)
    return 0


def _restage(
    settings: Settings, store: NightStore, night: NightSummary, say: Console
) -> tuple[NightReport, Collected]:
    """Stage the epochs of a night into a new one."""
    whose = msgspec.structs.replace(settings.night, bed=night.bed)
    settings = msgspec.structs.replace(settings, night=whose)
    epochs = store.epochs(night.id)
    stager, collected = load_stager(settings, say), Collected()
    record = Record(
        store,
        settings,
        say.print,
        source=night.source,
        channel=night.channel,
        sfreq=night.sfreq,
        started_utc=datetime.fromisoformat(night.started_utc),
        synthetic=night.synthetic,
    )
    with Progress(console=say, transient=True) as bar:
        task = bar.add_task(f"staging night {night.id} once more", total=night.n_epochs)
        for epoch in epochs:
            estimate = stager.step(epoch)
            record.keep(epoch)
            for sink in (record, collected):
                sink.show(estimate)
            bar.update(task, advance=1)
    ended = f"all of night {night.id} staged once more"
    record.end(ended)
    stages = Hypnogram(estimate.stage for estimate in collected.estimates)
    report = NightReport(
        bed=night.bed,
        night=record.night_id,
        store=store.path,
        ended=ended,
        n_epochs=len(stages),
        statistics=stages.statistics(),
        n_doubted=sum(estimate.quality.doubted for estimate in collected.estimates),
    )
    return report, collected


def export(store_path: Path, which: str, signal: Path) -> int:
    """Write the signal of a night on record to a file.

    Parameters
    ----------
    store_path : Path
        The record.
    which : str
        The night, as `NightStore.find` takes it.
    signal : Path
        The file: ``.npz`` has every bit, ``.edf`` is read by every program.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SettingsError
        A file with another ending.
    StoreError
        No such night, its signal was not kept, or the file cannot be written.
    """
    if signal.suffix not in SIGNALS:
        raise SettingsError(f"a file ending in {' or '.join(SIGNALS)}", str(signal), "rename it")
    with NightStore(store_path, WAIT_S) as store:
        night = store.find(which)
        epochs, estimates = list(store.epochs(night.id)), list(store.estimates(night.id))
    if not epochs:
        raise StoreError(f"an epoch in night {night.id}", "none", "name another night")
    try:
        if signal.suffix == ".npz":
            write_npz(signal, epochs, estimates)
        else:
            write_edf(signal, epochs, estimates, datetime.fromisoformat(night.started_utc))
    except OSError as error:
        raise StoreError(
            f"to write to {signal}",
            f"{type(error).__name__}: {error.strerror}",
            "name a file in a folder that is there and can be written to",
        ) from error
    console().print(f"{len(epochs)} epochs of night {night.id} written to {signal}")
    return 0
