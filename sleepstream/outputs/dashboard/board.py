"""The dashboard's state, its place on the terminal, and pictures of it.

Whoever runs the night tells it what happened; a thread of `rich.live.Live` draws it a few times a
second. A lock guards the state, and drawing works on a frozen copy of it, so that the night never
waits for the terminal.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections import deque
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live

from sleepstream.errors import SettingsError
from sleepstream.hypnogram import Hypnogram
from sleepstream.messages import N_STAGES, Float32Array, StageEstimate, frozen
from sleepstream.outputs.dashboard.drawing import plain
from sleepstream.outputs.dashboard.layout import compose
from sleepstream.outputs.dashboard.palette import to_ascii
from sleepstream.outputs.dashboard.view import Latency, Night, StreamHealth, View

_N_NOTICES = 5


class Dashboard:
    """Everything about one bed on one screen.

    A renderable of rich: it fills whatever console it is printed to. All methods may be called from
    any thread.

    Parameters
    ----------
    bed : str
        Whose night it is.
    start : datetime, optional
        Time of day at which the night began; without it the axis counts hours.
    budget_ms : float
        What the latency of an estimate is held against.
    synthetic : bool
        Whether the signal is made up, which is then said conspicuously.
    lights_off : int
        Number of the epoch in which the lights went off.
    """

    def __init__(
        self,
        bed: str = "bed-1",
        start: dt.datetime | None = None,
        budget_ms: float = 100.0,
        synthetic: bool = False,
        lights_off: int = 0,
    ) -> None:
        self._lock = Lock()
        self._bed = plain(bed)
        self._start = start
        self._budget_ms = budget_ms
        self._synthetic = synthetic
        self._hypnogram = Hypnogram(lights_off=lights_off)
        self._probs: list[Float32Array] = []
        self._latencies_ms: list[float] = []
        self._last: StageEstimate | None = None
        self._night: Night | None = None
        self._provisional: StageEstimate | None = None
        self._health: StreamHealth | None = None
        self._signal: Float32Array | None = None
        self._notices: deque[tuple[str, int]] = deque(maxlen=_N_NOTICES)

    def began(self, start: dt.datetime | None) -> None:
        """Take in that the night began at another time of day than it seemed."""
        with self._lock:
            self._start = start

    def show(self, estimate: StageEstimate) -> None:
        """Take in an estimate, final or provisional.

        A final estimate of an epoch that is already shown changes nothing; epochs that were left
        out are shown as unscorable.
        """
        with self._lock:
            if not estimate.final:
                if estimate.epoch >= len(self._hypnogram):
                    self._provisional = estimate
                return
            if estimate.epoch < len(self._hypnogram):
                return
            while len(self._hypnogram) < estimate.epoch:
                self._hypnogram.append(None)
                self._probs.append(np.zeros(N_STAGES, dtype=np.float32))
            self._hypnogram.append(estimate.stage)
            self._probs.append(estimate.probs)
            self._latencies_ms.append(estimate.latency_ms)
            self._last, self._provisional, self._night = estimate, None, None

    def stream(self, health: StreamHealth) -> None:
        """Take in how the stream is doing."""
        with self._lock:
            self._health = health

    def signal(self, recent: Float32Array) -> None:
        """Take in the last half minute of the conditioned signal.

        Parameters
        ----------
        recent : ndarray of float32, shape (3000,)
            In microvolts at 100 Hz; not finite where samples are missing.
        """
        samples = frozen(recent)
        with self._lock:
            self._signal = samples

    def notice(self, text: str) -> None:
        """Take in a warning for the person in front of the screen."""
        text = plain(text)
        with self._lock:
            times = 1
            if self._notices and self._notices[-1][0] == text:
                times += self._notices.pop()[1]
            self._notices.append((text, times))

    def view(self) -> View:
        """Return everything there is to draw at this moment."""
        with self._lock:
            if self._night is None:
                self._night = self._sum_up()
            return View(
                bed=self._bed,
                night=self._night,
                provisional=self._provisional,
                health=self._health,
                signal=self._signal,
                notices=tuple(self._notices),
                start=self._start,
                budget_ms=self._budget_ms,
                synthetic=self._synthetic,
            )

    def _sum_up(self) -> Night:
        stages = self._hypnogram.stages
        latency = None
        if self._latencies_ms:
            p50, p99 = np.percentile(self._latencies_ms, (50, 99))
            latency = Latency(self._latencies_ms[-1], float(p50), float(p99))
        return Night(
            codes=np.array([-1 if s is None else s for s in stages], dtype=np.int8),
            probs=np.array(self._probs, dtype=np.float32).reshape(-1, N_STAGES),
            statistics=self._hypnogram.statistics(),
            latency=latency,
            last=self._last,
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the dashboard as large as the console."""
        height = options.height or options.size.height
        for i, line in enumerate(compose(self.view(), options.max_width, height)):
            if options.ascii_only:
                line.plain = to_ascii(line.plain)
            yield from line.render(console, end="\n" if i < height - 1 else "")


class DashboardScreen:
    """The dashboard on the whole terminal, for as long as the context lasts.

    What the terminal showed before comes back at the end.

    Parameters
    ----------
    dashboard : Dashboard
        What to show.
    console : Console, optional
        Where; by default the terminal of this process.
    refresh_hz : float
        How often it is drawn.
    """

    def __init__(
        self, dashboard: Dashboard, console: Console | None = None, refresh_hz: float = 4.0
    ) -> None:
        self.dashboard = dashboard
        self._live = Live(
            dashboard, console=console, screen=True, refresh_per_second=refresh_hz, transient=False
        )

    def __enter__(self) -> Dashboard:
        """Take over the terminal."""
        self._live.start(refresh=True)
        return self.dashboard

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        console = self._live.console
        with console:
            # else a tmux that was resized meanwhile keeps parts of the last picture
            if console.is_alt_screen:
                console.control(Control.clear(), Control.home())
            self._live.stop()


def screenshot(dashboard: Dashboard, path: Path, width: int = 120, height: int = 40) -> None:
    """Write a picture of the dashboard.

    Parameters
    ----------
    dashboard : Dashboard
        What to draw.
    path : Path
        ``.svg`` for a picture, ``.txt`` for plain text.
    width, height : int
        Size of the terminal to imagine.

    Raises
    ------
    SettingsError
        The path ends otherwise.
    """
    if path.suffix not in (".svg", ".txt"):
        raise SettingsError(
            "a picture ending in .svg or .txt", f"{str(path)!r}", "name the file accordingly"
        )
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        height=height,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(dashboard)
    if path.suffix == ".svg":
        text = console.export_svg(title="sleepstream", unique_id="sleepstream")
        # a picture in a README must not fetch fonts from elsewhere
        text = re.sub(r"@font-face\s*{[^}]*}", "", text)
    else:
        text = "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"
    path.write_text(text, encoding="utf-8")
