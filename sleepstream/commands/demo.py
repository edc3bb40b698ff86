"""``sleepstream demo``: a night over real LSL into the real daemon, on a machine that has nothing.

A second process plays the night; this one stages it, exactly as ``sleepstream run`` would.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sleepstream.commands.run import run
from sleepstream.commands.setup import console
from sleepstream.config import Models, Night, Output, Settings, Stream
from sleepstream.errors import RecordingError, StreamError

PLAYS_FOR_S = 60.0
"""How long a demonstration takes, if nobody asks for a speed."""

GRACE_S = 3.0
MARGIN_S = 1800.0
"""Wake that is played before and after the sleep of a real night."""


def demo(
    *,
    hours: float,
    seed: int,
    sleep_edf: int | None,
    speed: float | None,
    headless: bool,
    picture: str,
) -> int:
    """Play a night and stage it.

    Parameters
    ----------
    hours : float
        Length of the made-up night.
    seed : int
        Which made-up night.
    sleep_edf : int or None
        Instead, the real night of this subject of Sleep-EDF, downloaded by MNE.
    speed : float or None
        How many times faster than real; None for about a minute in all.
    headless : bool
        No dashboard.
    picture : str
        File for a picture of the dashboard at the end; empty for none.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    SleepstreamError
        The night could not be had, played or staged.
    """
    say = console()
    if sleep_edf is None:
        what = ["--synthetic", str(hours), "--seed", str(seed)]
        say.print(f"A made-up night of {hours:g} h: the signal is SYNTHETIC, nobody slept it.")
    else:
        psg, start_s, length_s = _sleep_edf(sleep_edf)
        what = [str(psg), "--start", str(start_s), "--duration", str(length_s)]
        hours = length_s / 3600
        say.print(f"Sleep-EDF, subject {sleep_edf}: {hours:.1f} h of a real night.")
    speed = speed or max(1.0, hours * 3600 / PLAYS_FOR_S)
    say.print(f"Playing it over LSL at {speed:.0f} times its speed; Ctrl-C ends it.")
    name = f"sleepstream-demo-{uuid.uuid4().hex[:6]}"
    settings = Settings(
        stream=Stream(lsl_stream=name, timeout=60.0, grace=GRACE_S, channel="EEG Fpz-Cz"),
        models=Models(device="cpu"),
        night=Night(bed="demo"),
        output=Output(headless=headless, picture=picture),
    )
    with _player([*what, "--speed", str(speed), "--stream-name", name, "--source-id", name]):
        return run(settings)


@contextmanager
def _player(arguments: Sequence[str]) -> Iterator[None]:
    """Run the replay in a process of its own for as long as the context lasts."""
    player = subprocess.Popen(
        [sys.executable, "-m", "sleepstream_replay", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    except StreamError as error:
        if player.poll():
            said = player.stderr.read().strip() if player.stderr else ""
            raise StreamError(
                "a player that plays the night over LSL",
                said or "it ended without a word",
                "see above",
            ) from error
        raise
    finally:
        player.terminate()
        player.communicate()


def _sleep_edf(subject: int) -> tuple[Path, float, float]:
    """Download a night and find the part of it in which somebody sleeps.

    Returns
    -------
    psg : Path
        The recording.
    start_s, length_s : float
        Where the night begins in it, and how long it is.
    """
    from mne.datasets.sleep_physionet.age import fetch_data  # noqa: PLC0415 - a second of import

    try:
        ((psg, scoring),) = fetch_data(subjects=[subject], recording=[1], verbose="error")
    except (OSError, ValueError, RuntimeError) as error:
        raise RecordingError(
            f"the first night of subject {subject} of Sleep-EDF, from physionet.org",
            f"{type(error).__name__}: {error}",
            "check the network, take a subject of 0 to 82 (39, 68, 69, 78 and 79 are missing), "
            "or leave --sleep-edf out",
        ) from error
    return Path(psg), *night_part(Path(scoring))


def night_part(scoring: Path) -> tuple[float, float]:
    """Return where the sleep in a hypnogram file starts and how long it is, with a margin, in s.

    Sleep-EDF records a day and a night; the day would make a long demonstration.
    """
    import mne  # noqa: PLC0415

    from sleepstream.hypnogram import SLEEP_STAGES, parse_stage  # noqa: PLC0415

    asleep = [
        (float(note["onset"]), float(note["onset"] + note["duration"]))
        for note in mne.read_annotations(scoring)
        if parse_stage(str(note["description"])) in SLEEP_STAGES
    ]
    if not asleep:
        raise RecordingError("scored sleep", f"none in {scoring.name}", "take another subject")
    start_s = max(0.0, min(onset for onset, _ in asleep) - MARGIN_S)
    return start_s, max(end for _, end in asleep) + MARGIN_S - start_s
