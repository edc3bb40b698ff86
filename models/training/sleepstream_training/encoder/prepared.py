"""Recordings made ready to draw from: conditioned as in the serving path, kept on disk.

In come scored recordings of any corpus (`sleepstream.corpora`) or made-up nights, out go arrays
that are mapped, not read: a full Sleep-EDF takes 5 GB of disk and hardly any memory. The signal is
made by the `Epocher` of the live path; movement and unscored epochs stay in the time line.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.corpora.catalogue import Found
from sleepstream.corpora.scored import Scored
from sleepstream.corpora.scoring import Codes
from sleepstream.errors import ChannelError, RecordingError, StoreError
from sleepstream.messages import Chunk, Float32Array, Stage
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.stager.front_end import log_amplitude
from sleepstream_training.encoder.sources import SourceFile, sha256_of

LAYOUT = 1
"""Of the kept arrays; one more whenever they would come out otherwise."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose recording it is, which derivation, and the files that it came from."""

    corpus: str
    subject: str
    record: str
    channel: str
    files: tuple[SourceFile, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One derivation of one recording.

    Attributes
    ----------
    about : About
        Where it comes from.
    signals : ndarray of float32, shape (n_epochs, 3000)
        Microvolts at 100 Hz, high-passed; all of the recording.
    codes : ndarray of int8, shape (n_epochs,)
        Stages, below 0 where there is none.
    log_amps : ndarray of float32, shape (n_epochs,)
        What each epoch says about the gain; NaN where it says nothing.
    """

    about: About
    signals: Float32Array
    codes: Codes
    log_amps: Float32Array

    def kept(self, margin: int) -> slice:
        """Return the epochs from `margin` before the first sleep to `margin` after the last."""
        asleep = np.flatnonzero(self.codes > Stage.W)
        if not asleep.size:
            return slice(0, len(self.codes))
        return slice(max(0, int(asleep[0]) - margin), int(asleep[-1]) + 1 + margin)


def prepare(found: Found, channel: str, unit: str, cache: Path) -> Prepared:
    """Return a recording from the cache, or read it and keep it there.

    Parameters
    ----------
    found : Found
        The recording and its scoring.
    channel, unit : str
        As for `Found.read`.
    cache : Path
        Folder of the cache.

    Raises
    ------
    SleepstreamError
        The recording cannot be read as scored, or the cache cannot be written.
    """
    folder = cache / _key(found, channel, unit)
    if not folder.is_dir():
        try:
            scored = found.read(channel, unit)
        except (RecordingError, ChannelError) as error:
            sought = f"{found.psg.name}: {error.sought}"
            raise type(error)(sought, error.found, error.remedy) from error
        _keep(folder, _prepared(scored, _files(found)))
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    files = tuple(SourceFile(**file) for file in about.pop("files"))
    signals, codes, amps = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("signals", "codes", "log_amps")
    )
    return Prepared(About(**about, files=files), signals, codes, amps)


def made_up(seed: int, hours: float, channel: str = "Fpz-Cz") -> Prepared:
    """Return a derivation of the made-up night of this seed."""
    night = synthetic_night(hours=hours, seed=seed)
    montage = choose(night.labels, night.units, channel)
    data = night.read(0, night.n_samples)[list(montage.picks)]
    scales = np.array(montage.scales)[:, np.newaxis]
    chunk = Chunk(np.arange(night.n_samples) / night.sfreq, (data * scales).astype(np.float32))
    epochs = list(Epocher(night.sfreq, montage).push(chunk))
    signals = np.concatenate([epoch.data for epoch in epochs])
    codes = np.array([Stage[scored.label] for scored in night.stages], dtype=np.int8)
    about = About("made-up", f"made-up-{seed}", f"night {seed}", montage.label)
    return Prepared(about, signals, codes, _log_amps(signals))


def _prepared(scored: Scored, files: tuple[SourceFile, ...]) -> Prepared:
    origin = scored.origin
    about = About(origin.corpus, origin.subject, origin.record, scored.channel, files)
    return Prepared(about, scored.epochs, scored.codes, _log_amps(scored.epochs))


def _log_amps(signals: Float32Array) -> Float32Array:
    said = (log_amplitude(epoch[np.newaxis]) for epoch in signals)
    return np.array([np.nan if amp is None else amp for amp in said], dtype=np.float32)


def _files(found: Found) -> tuple[SourceFile, ...]:
    paths = [found.psg, *([found.scoring] if found.scoring else [])]
    return tuple(SourceFile(path.name, sha256_of(path), found.origin.corpus) for path in paths)


def _key(found: Found, channel: str, unit: str) -> str:
    """Return a name that is another one as soon as the files or the wishes are."""
    paths = [found.psg, *([found.scoring] if found.scoring else [])]
    stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    wanted = json.dumps([LAYOUT, stats, asdict(found.origin), channel, unit])
    return f"{found.origin.record}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


def _keep(folder: Path, prepared: Prepared) -> None:
    """Write a recording into the cache, all of it or nothing."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "signals": prepared.signals,
        "codes": prepared.codes,
        "log_amps": prepared.log_amps,
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            for name, array in arrays.items():
                np.save(new / f"{name}.npy", array)
            (new / "about.json").write_text(json.dumps(asdict(prepared.about)), encoding="utf-8")
            if not folder.is_dir():  # else somebody was faster
                new.replace(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise StoreError(
            f"to keep a conditioned recording in {folder.parent}",
            f"{type(error).__name__}: {error.strerror}",
            "make room (1.5 MB for each hour of recording), or name another --work",
        ) from error
