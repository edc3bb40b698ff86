"""``sleepstream run``: a live stream in, the night out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from sleepstream.commands.record import WAIT_S, Record
from sleepstream.commands.resume import Past, Resumption, identity, look_back
from sleepstream.commands.setup import console, epocher, load_stager, stop_on_signals
from sleepstream.config import Settings
from sleepstream.errors import SettingsError, StreamError
from sleepstream.hypnogram import Hypnogram
from sleepstream.lsl_quiet import quiet_liblsl
from sleepstream.messages import Event, StageEstimate
from sleepstream.outputs.dashboard import Dashboard, DashboardScreen, StreamHealth, screenshot
from sleepstream.outputs.health import LifeSigns
from sleepstream.outputs.lsl import StageOutlets
from sleepstream.outputs.sink import Sink
from sleepstream.outputs.supervision import ServiceManager
from sleepstream.outputs.text import (
    NightReport,
    TextSink,
    event_json,
    json_line,
    log_line,
    summary_json,
    summary_table,
)
from sleepstream.pipeline import Bed, LiveWatch, stage_live
from sleepstream.signal.montage import Choices, choose_all
from sleepstream.sources.description import Query, StreamDescription
from sleepstream.sources.live import LiveStream
from sleepstream.sources.lsl import LslSource
from sleepstream.sources.network import find, look_around
from sleepstream.sources.supervisor import Patience
from sleepstream.stager.stager import Stager
from sleepstream.store.lock import bed_lock
from sleepstream.store.nights import NightStore

PICTURES = (".svg", ".txt")
NOT_LOCAL = (
    "other computers on the network can receive the stages: only Linux can keep them from it (keep "
    "them out with the firewall, or send nothing: --no-lsl-out)"
)
STOPPED_EARLY = "stopped before there was a stream"


def run(settings: Settings) -> int:
    """Stage a live stream until it ends or somebody stops it.

    Parameters
    ----------
    settings : Settings
        In force.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        Anything that keeps the night from being staged.
    """
    quiet_liblsl()
    say = console()
    query = Query.parse(settings.stream.lsl_stream)
    _check_picture(settings.output.picture)
    path, bed = settings.store_path(), settings.night.bed
    with (
        stop_on_signals() as stop,
        NightStore(path, WAIT_S) as store,
        bed_lock(path, bed),
        LifeSigns(path, bed, ServiceManager()) as life,
    ):

        def asked_to_stop() -> bool:
            life.beat()  # who still asks does not hang
            return stop.is_set()

        stager = load_stager(settings, say)
        life.ready()
        house = _House(settings, stager, store, life, say, asked_to_stop)
        try:
            report = _search(house, query)
        except StreamError:
            if not stop.is_set():
                raise
            report = None  # no answer came because nobody waited any longer
        if report is None:
            life.end(STOPPED_EARLY)
    if report is None:
        say.print(STOPPED_EARLY)
        return 0
    if settings.output.json:
        say.print(summary_json(report))
    else:
        Console().print(summary_table(report), crop=False)
    return 0


class _Stages:
    """Keeps the final stages for the summary, and counts the doubted ones; a `Sink`."""

    def __init__(self) -> None:
        self.hypnogram = Hypnogram()
        self.n_doubted = 0

    def show(self, estimate: StageEstimate) -> None:
        """Keep a final stage."""
        if estimate.final:
            self.hypnogram.append(estimate.stage)
            self.n_doubted += estimate.quality.doubted


@dataclass(frozen=True, slots=True)
class _House:
    """What is there before the stream is."""

    settings: Settings
    stager: Stager
    store: NightStore
    life: LifeSigns
    say: Console
    stop: Callable[[], bool]


def _search(house: _House, query: Query) -> NightReport | None:
    """Find the stream and stage its night; None if somebody stopped us before it was there."""
    info = find(query, house.settings.stream.timeout, house.say.print, house.stop)
    if info is None:
        return None
    with LslSource(info, house.stop) as source:
        return _night(house, source)


def _night(house: _House, source: LslSource) -> NightReport:
    """Stage one night from the first sample to the last."""
    settings, life, stop = house.settings, house.life, house.stop
    about = source.description
    choices = choose_all(about.labels, about.units, settings.derivations(), settings.stream.units)
    board = _dashboard(settings, synthetic=about.synthetic)
    on_screen = _wants_screen(settings)
    speak = board.notice if on_screen else house.say.print
    record = _record(settings, house.store, about, choices, speak)
    stages = _Stages()
    life.held = record.held

    def tell(event: Event) -> None:
        record.tell(event)
        life.tell(event)
        if not (on_screen and event.kind == "connected"):  # the dashboard shows that anyway
            speak(event_json(event) if settings.output.json else event.text)

    with ExitStack() as stack:
        sinks: list[Sink] = [record, stages, life]  # on disk before anybody is told
        if settings.output.lsl_out:
            outlets = _outlets(settings, about, choices, house.stager, stop)
            sinks.append(stack.enter_context(outlets))
            if not (outlets.local or settings.output.lsl_network):
                speak(NOT_LOCAL)
        sinks.append(board)
        if not on_screen:
            sinks.append(_lines(settings))
        _connect(source, choices, tell)
        bed = _bed(house, about, choices, record=record, stages=stages, board=board, tell=tell)
        if on_screen:
            stack.enter_context(DashboardScreen(board))
        watch = LiveWatch([board, life], _health(about, choices), record.clock)
        limits = settings.stream
        reason = stage_live(
            LiveStream(source, about, Patience(limits.stale, limits.grace)),
            bed,
            sinks,
            tell,
            watch,
            duration_s=limits.duration,
            stop=stop,
        )
        life.end(reason)
        watch.end(bed)
        record.end(reason, bed.epocher.now_s)
    if settings.output.picture:
        screenshot(board, Path(settings.output.picture))
    return NightReport(
        bed=settings.night.bed,
        night=record.night_id,
        store=house.store.path,
        ended=reason,
        n_epochs=len(stages.hypnogram),
        statistics=stages.hypnogram.statistics(),
        n_doubted=stages.n_doubted,
    )


def _bed(
    house: _House,
    about: StreamDescription,
    choices: Choices,
    *,
    record: Record,
    stages: _Stages,
    board: Dashboard,
    tell: Callable[[Event], None],
) -> Bed:
    """Look for a night that was cut off; return the bed that goes on with it, or begins anew."""
    settings = house.settings
    past = look_back(
        house.store,
        settings,
        stream=identity(about),
        channel=choices.label,
        stager=house.stager,
        say=house.say,
        stop=house.stop,
    )

    def go_on(past: Past) -> None:
        record.go_on(past.night.id)
        for estimate in past.estimates:
            stages.show(estimate)
            board.show(estimate)
        if not about.synthetic:
            board.began(datetime.fromisoformat(past.night.started_utc).astimezone())

    earlier = Resumption(past, settings, stager=house.stager, go_on=go_on, tell=tell)
    return Bed(
        epocher(settings, about.sfreq, choices),
        house.stager,
        settings.staging.provisional,
        keep=record.keep,
        begin=earlier.decide,
    )


def _connect(source: LslSource, choices: Choices, tell: Callable[[Event], None]) -> None:
    """Subscribe to the stream and say so."""
    about = source.description
    source.start(choices.picks, choices.scales)
    now_s = source.now_s()
    tell(
        Event(
            "connected",
            now_s,
            f"connected to {about.name!r} on {about.host}: {choices.label} in {choices.unit}, "
            f"{about.sfreq:g} Hz",
        )
    )
    if choices.note:
        tell(Event("warning", now_s, choices.note))


def _record(
    settings: Settings,
    store: NightStore,
    about: StreamDescription,
    choices: Choices,
    warn: Callable[[str], None],
) -> Record:
    return Record(
        store,
        settings,
        warn,
        source=about.name,
        channel=choices.label,
        sfreq=about.sfreq,
        started_utc=datetime.now(UTC),
        synthetic=about.synthetic,
        stream=identity(about),
    )


def _check_picture(path: str) -> None:
    """Refuse a picture that could not be written, before the night and not after it."""
    if path and (Path(path).suffix not in PICTURES or not Path(path).absolute().parent.is_dir()):
        raise SettingsError(
            f"a picture ending in {' or '.join(PICTURES)}, in a folder that is there",
            repr(path),
            "name another file with --picture",
        )


def _outlets(
    settings: Settings,
    about: StreamDescription,
    choices: Choices,
    stager: Stager,
    stop: Callable[[], bool],
) -> StageOutlets:
    """Open the bed's outlets.

    Raises
    ------
    StreamError
        Another sleepstream announces stages for a bed of that name: receivers could not tell the
        two apart.
    """
    bed = settings.night.bed
    if twin := Query.parse(f"source_id=sleepstream-{bed}-stage").among(look_around(stop=stop)):
        raise StreamError(
            f"the name {bed!r} for this bed alone",
            f"a sleepstream on {twin[0].host} that sends stages under that name",
            "give this bed another name with --bed, or send nothing: --no-lsl-out",
        )
    return StageOutlets(
        settings.night.bed,
        source=about.name,
        channel=choices.label,
        sfreq=about.sfreq,
        model=stager.model,
        network=settings.output.lsl_network,
    )


def _wants_screen(settings: Settings) -> bool:
    """Return whether there is a terminal, and nobody wants lines instead."""
    return not (settings.output.headless or settings.output.json) and sys.stdout.isatty()


def _dashboard(settings: Settings, *, synthetic: bool) -> Dashboard:
    return Dashboard(
        bed=settings.night.bed,
        # a made-up night was slept at no time of day, and it is played fast
        start=None if synthetic else datetime.now().astimezone(),
        budget_ms=settings.staging.budget_ms,
        synthetic=synthetic,
    )


def _lines(settings: Settings) -> TextSink:
    if settings.output.json:
        return TextSink(sys.stdout, json_line, provisional=True)
    return TextSink(sys.stdout, log_line)


def _health(about: StreamDescription, choices: Choices) -> StreamHealth:
    return StreamHealth(
        source=about.name,
        channel=choices.label,
        unit=choices.unit,
        sfreq_nominal=about.sfreq,
    )
