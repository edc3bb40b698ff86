"""The command line: ``sleepstream replay`` and ``python -m sleepstream_replay``.

The composition root of the replay: it opens the recording and the outlets, turns signals into a
clean stop, and shows how far it has come. Importing it loads click and nothing heavy, so that the
help is quick.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import IO, TYPE_CHECKING, Any

import click

from sleepstream_replay.errors import ReplayError, printable

if TYPE_CHECKING:
    from sleepstream_replay.fault_log import Injected
    from sleepstream_replay.faults import Faults
    from sleepstream_replay.player import Played, Settings
    from sleepstream_replay.recording import Recording

STATUS_EVERY_S = 60.0
MAX_SYNTHETIC_HOURS = 24.0
LONGEST_S = 1e9


def _speed(text: str) -> float:
    """Read a factor above zero; infinity for ``max``."""
    if text.lower() == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < math.inf:
        raise click.BadParameter(f"{text!r} is neither a number above zero nor 'max'.")
    return speed


def _offset(text: str) -> float:
    """Read a time since the start of the recording: seconds, or ``HH:MM:SS``."""
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) not in {1, 3} or not all(0.0 <= number <= LONGEST_S for number in numbers):
        raise click.BadParameter(f"{text!r} is neither seconds nor HH:MM:SS.")
    return sum(number * 60.0**power for power, number in enumerate(reversed(numbers)))


class _Failure(click.ClickException):
    """A `ReplayError` on its way to the terminal, with its exit code."""

    exit_code = ReplayError.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(printable(self.format_message()), err=file is None, file=file)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--synthetic",
    type=click.FloatRange(0, MAX_SYNTHETIC_HOURS, min_open=True),
    metavar="HOURS",
    help="Play a synthetic night of this length instead of a file.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Which synthetic night."
)
@click.option(
    "--speed",
    type=_speed,
    default="1",
    show_default=True,
    metavar="FACTOR|max",
    help="1 as recorded, 60 a minute a second, max as fast as it is taken.",
)
@click.option("--stream-name", default="EEG", show_default=True, help="Name of the stream.")
@click.option("--source-id", help="Source id of the stream; by default made from the names.")
@click.option(
    "--network", is_flag=True, help="Let other computers receive it, too (LSL asks no password)."
)
@click.option("--channels", metavar="LABEL,LABEL", help="Channels to play, in this order.")
@click.option(
    "--units",
    type=click.Choice(["uV", "mV", "V"]),
    default="uV",
    show_default=True,
    help="Unit of the voltages on the wire (V: in double precision).",
)
@click.option(
    "--start",
    type=_offset,
    default="0",
    show_default=True,
    metavar="SECONDS|HH:MM:SS",
    help="Where in the recording to begin.",
)
@click.option(
    "--duration",
    type=_offset,
    metavar="SECONDS|HH:MM:SS",
    help="How much of the recording to play.",
)
@click.option("--chunk", type=click.IntRange(1), help="Samples per push; by default 50 ms' worth.")
@click.option("--loop", is_flag=True, help="Begin again at the end, with time going on.")
@click.option(
    "--stages",
    is_flag=True,
    help="Add the scored stages as marker stream NAME-scored, stamped at their onsets.",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Hold the first sample until somebody listens.",
)
@click.option(
    "--linger",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Keep the stream this long after the last sample.",
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Have things go wrong as this file says (docs/replay.md).",
)
@click.option(
    "--fault-log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what went wrong, and for which samples, as JSON lines.",
)
def replay(  # noqa: PLR0917
    file: Path | None, synthetic: float | None, seed: int, speed: float, stream_name: str,
    source_id: str | None, network: bool, channels: str | None, units: str, start: float,
    duration: float | None, chunk: int | None, loop: bool, stages: bool, wait: bool, linger: float,
    faults: Path | None, fault_log: Path | None,
) -> None:  # fmt: skip
    """Play FILE, or a synthetic night, as a Lab Streaming Layer stream.

    FILE is any recording that MNE can read. Each sample is stamped in data time, exactly 1/rate
    after the one before, at any speed. A stop by Ctrl-C is a clean end.

    LSL has no flow control: at `--speed max` the receiver must be able to buffer what it does not
    read at once.
    """
    if (file is None) == (synthetic is None):
        raise click.UsageError("Give either a FILE or --synthetic HOURS.")
    if fault_log is not None and faults is None:
        raise click.UsageError("--fault-log needs --faults FILE.toml.")
    from sleepstream_replay.player import Settings  # noqa: PLC0415  # numpy: not at import

    settings = Settings(
        stream_name=stream_name,
        speed=speed,
        start_s=start,
        duration_s=duration,
        units=units,
        chunk=chunk,
        loop=loop,
        wait=wait,
        linger_s=linger,
        stages=stages,
        source_id=source_id,
    )
    try:
        if faults is not None:
            settings = replace(settings, faults=_faults(faults))
        recording = _recording(file, synthetic, seed, _labels(channels))
        play(recording, settings, fault_log, network=network)
    except ReplayError as error:
        raise _Failure(str(error)) from error


def _labels(channels: str | None) -> tuple[str, ...]:
    return tuple(label.strip() for label in (channels or "").split(",") if label.strip())


def _faults(path: Path) -> Faults:
    from sleepstream_replay.faults_file import read_faults  # noqa: PLC0415

    return read_faults(path)


def _recording(
    file: Path | None, synthetic_h: float | None, seed: int, labels: tuple[str, ...]
) -> Recording:
    if file is not None:
        from sleepstream_replay.recording import read_recording  # noqa: PLC0415

        return read_recording(file, labels)
    from sleepstream_replay.synthetic import synthetic_night  # noqa: PLC0415

    return synthetic_night(synthetic_h or 0.0, seed).pick(labels)


def play(
    recording: Recording, settings: Settings, fault_log: Path | None = None, *, network: bool
) -> None:
    """Open the outlets, play the recording and say how it went."""
    from sleepstream.lsl_quiet import quiet_liblsl  # noqa: PLC0415 - loads a shared library
    from sleepstream_replay.player import (  # noqa: PLC0415
        MAX_SPEED,
        Player,
        buffer_s,
        describe,
        describe_stages,
    )
    from sleepstream_replay.wire import LslClock, LslOutlet, lsl_outlet  # noqa: PLC0415

    quiet_liblsl()
    stop = Event()
    clock = LslClock(stop)
    description = describe(recording, settings)
    blocking = settings.speed == MAX_SPEED
    with ExitStack() as stack:
        stack.enter_context(_stop_on_signals(stop))
        size_s = buffer_s(recording, settings)
        outlet = stack.enter_context(lsl_outlet(description, size_s, blocking, network))
        markers = None
        if settings.stages:
            scored = describe_stages(recording, settings)
            markers = stack.enter_context(lsl_outlet(scored, buffer_s=100, network=network))
        open_outlet = partial(LslOutlet, buffer_s=size_s, blocking=blocking, network=network)
        player = Player(recording, settings, outlet, clock, markers, open_outlet=open_outlet)
        on_fault = stack.enter_context(_logging_to(fault_log))
        _say(_announcement(recording, settings, description.source_id, local=outlet.local))
        total = None if settings.loop else player.section.n_samples
        with _progress(total, recording.sfreq, clock.now) as on_progress:
            played = player.play(on_progress, on_fault)
    _say(_farewell(played, settings))


def _announcement(recording: Recording, settings: Settings, source_id: str, *, local: bool) -> str:
    labels = ", ".join(recording.labels)
    speed = "maximum speed" if math.isinf(settings.speed) else f"speed {settings.speed:g}"
    lines = [
        f"{recording.name}: {labels}; {recording.sfreq:g} Hz, {_clock(recording.duration_s)}",
        f"stream {settings.stream_name!r}, source_id {source_id!r}, at {speed}",
    ]
    if not local:
        lines.append("other computers on the network can receive it")
    if recording.synthetic:
        lines.append("the signal is synthetic: nobody slept this night")
    if settings.stages and not recording.stages:
        lines.append("no scored stages in this recording: the marker stream stays silent")
    if n_faults := len(settings.faults.faults):
        lines.append(f"{n_faults} fault{'s' * (n_faults > 1)} will be injected")
    if settings.wait:
        lines.append("waiting for somebody to listen (--no-wait starts at once)")
    return "\n".join(lines)


def _farewell(played: Played, settings: Settings) -> str:
    at = _clock(settings.start_s + played.duration_s)
    how = "stopped" if played.stopped else "ended"
    return f"{how} at {at}: {played.n_samples} samples sent"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _say(text: str) -> None:
    click.echo(printable(text), err=True)


@contextmanager
def _stop_on_signals(stop: Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set an event instead of ending the process."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _logging_to(path: Path | None) -> Iterator[Callable[[Injected], None]]:
    """Write each injected fault as a line of JSON, at once; without a path, nothing."""
    if path is None:
        yield lambda _: None
        return
    from msgspec import json  # noqa: PLC0415

    try:
        lines = path.open("wb", buffering=0)
    except OSError as error:
        raise ReplayError(
            f"Sought to write the log of faults to {path}.",
            str(error),
            "Give --fault-log a file in a folder that exists and can be written to.",
        ) from error
    with lines:

        def write(injected: Injected) -> None:
            lines.write(json.encode(injected) + b"\n")

        yield write


@contextmanager
def _progress(
    total: int | None, sfreq: float, now: Callable[[], float]
) -> Iterator[Callable[[int], None]]:
    """Show how far the replay is: a bar on a terminal, a line a minute elsewhere."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total, sfreq, now)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("0:00:00", total=total)

        def show(n_sent: int) -> None:
            bar.update(task, completed=n_sent, description=_clock(n_sent / sfreq))

        yield show


def _lines(total: int | None, sfreq: float, now: Callable[[], float]) -> Callable[[int], None]:
    next_s = now() + STATUS_EVERY_S

    def show(n_sent: int) -> None:
        nonlocal next_s
        if now() >= next_s:
            next_s += STATUS_EVERY_S
            of = "" if total is None else f" of {_clock(total / sfreq)}"
            _say(f"played {_clock(n_sent / sfreq)}{of}")

    return show
