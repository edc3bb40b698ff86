"""Training data for the encoders: real epochs, and the features that others are made from.

In come the files of a data folder laid out as ``raw_eeg/*.npz`` and
``sleep_edf_features/fpzcz_34.npz``, out go arrays, split by subject. Raw signals are conditioned
as in the serving path: microvolts, causal 0.3 Hz high-pass with its state carried over each
contiguous run, and the gain that `RunningGain` would have at that epoch of the night.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sleepstream_replay.synthetic import synthetic_night

from sleepstream.messages import EPOCH_N_SAMPLES, N_STAGES, STAGES, Float32Array
from sleepstream.signal.filters import HighPass
from sleepstream.stager.front_end import MIN_AMPLITUDE_UV, RunningGain, log_amplitude

DEVELOPMENT = ("ucddb018", "prerau_segment")
"""Recordings that the card reports on; never trained or selected on."""

HELD_OUT_RAW = ("ucddb007", "ucddb015", "ucddb021", "ucddb026")
"""UCDDB subjects kept for selection."""

N_HELD_OUT_FEATURES = 16
"""Sleep-EDF subjects kept for selection."""

MADE_UP_LEADS = (0, 1)
"""Of a made-up night: the frontal and the central lead."""

FEATURES = Path("sleep_edf_features") / "fpzcz_34.npz"

# Log amplitude of a stage against the middle between W and N3 of the same night: what stands in
# for the epochs of a UCDDB night that the set does not have. From the Sleep-EDF features.
_ABSENT_STAGE_OFFSET = np.array([0.0, -0.25, -0.1, 0.0, -0.35], dtype=np.float32)

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A raw recording, conditioned.

    Attributes
    ----------
    name : str
        Its file's name.
    runs : list of ndarray of float32, each shape (n, 3000)
        Contiguous epochs, microvolts, high-passed.
    labels : list of ndarray of int64, each shape (n,)
        Stages of the epochs in each run.
    log_gains : list of ndarray of float32, each shape (n,)
        Mean log amplitude that `RunningGain` has at each epoch.
    """

    name: str
    runs: list[Float32Array]
    labels: list[IntArray]
    log_gains: list[Float32Array]


def high_passed(run: Float32Array) -> Float32Array:
    """Return contiguous epochs after the serving path's 0.3 Hz high-pass, settled at the start."""
    samples = run.ravel()
    high_pass = HighPass()
    high_pass.begin(float(samples[0]))
    return high_pass.push(samples).reshape(-1, EPOCH_N_SAMPLES)


def load_recording(path: Path) -> Recording:
    """Read one ``raw_eeg/*.npz``."""
    with np.load(path) as z:
        epochs = z["counts"].astype(np.float32) * z["microvolt_per_count"]
        labels = z["y"].astype(np.int64)
        index = z["epoch_index"].astype(int) if "epoch_index" in z else np.arange(len(epochs))
        night = z["y_night"].astype(int) if "y_night" in z else labels
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    parts = np.split(np.arange(len(epochs)), cuts)
    runs = [high_passed(epochs[part]) for part in parts]
    amps = [np.array([_amplitude(e) for e in run], dtype=np.float32) for run in runs]
    gains = _night_gains(np.concatenate(amps), labels, index, night)
    return Recording(
        path.stem, runs, [labels[p] for p in parts], [gains[p].astype(np.float32) for p in parts]
    )


def _amplitude(epoch: Float32Array) -> float:
    value = log_amplitude(epoch[None])
    return np.nan if value is None else value


def _night_gains(
    amps: Float32Array, labels: IntArray, index: IntArray, night: IntArray
) -> Float32Array:
    """Run the gain over the whole night, guessing the epochs that are not in the set."""
    middles = [np.nanmedian(amps[labels == s]) for s in (0, 3) if np.any(labels == s)]
    whole = np.float32(np.mean(middles)) + _ABSENT_STAGE_OFFSET[np.clip(night, 0, 4)]
    whole = np.where(night < 0, np.nan, whole).astype(np.float32)
    whole[index] = amps
    return RunningGain().follow(whole)[index]


def load_raw(folder: Path) -> dict[str, list[Recording]]:
    """Read every UCDDB recording of ``folder/raw_eeg`` that may be learned from, by split."""
    split: dict[str, list[Recording]] = {"train": [], "held_out": []}
    for path in sorted((folder / "raw_eeg").glob("ucddb*.npz")):
        if path.stem not in DEVELOPMENT:
            part = "held_out" if path.stem in HELD_OUT_RAW else "train"
            split[part].append(load_recording(path))
    return split


def load_development(folder: Path) -> list[Recording]:
    """Read the recordings that the card reports on."""
    return [load_recording(folder / "raw_eeg" / f"{name}.npz") for name in DEVELOPMENT]


def made_up_nights(seeds: range, hours: float = 8.0) -> list[Recording]:
    """Return the demo's synthetic nights of these seeds, the frontal and the central lead."""
    names = [stage.name for stage in STAGES]
    nights = []
    for seed in seeds:
        night = synthetic_night(hours, seed)
        labels = np.array([names.index(scored.label) for scored in night.stages])
        volts = night.read(0, night.n_samples)
        for row in MADE_UP_LEADS:
            run = high_passed(np.asarray(volts[row] * 1e6, dtype=np.float32))
            amps = np.array([_amplitude(e) for e in run], dtype=np.float32)
            gains = RunningGain().follow(amps)
            nights.append(Recording(f"{night.name}, {row}", [run], [labels], [gains]))
    return nights


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Spectral features of Sleep-EDF epochs, sleep period and an hour around it.

    Attributes
    ----------
    x : ndarray of float32, shape (n, 34)
        Features, energies in square volts.
    y : ndarray of int64, shape (n,)
        Stages.
    log_gain : ndarray of float32, shape (n,)
        Mean log amplitude (of microvolts) that `RunningGain` has at each epoch.
    subject : ndarray of str, shape (n,)
        Whose epoch it is.
    """

    x: Float32Array
    y: IntArray
    log_gain: Float32Array
    subject: npt.NDArray[np.str_]

    def take(self, rows: IntArray) -> Features:
        """Return some of the epochs."""
        return Features(self.x[rows], self.y[rows], self.log_gain[rows], self.subject[rows])


def band_log_amplitude(x: Float32Array) -> Float32Array:
    """Return about what `log_amplitude` would say, from the wavelet energies.

    The 4-16 Hz band covers most of the 6.25-12.5 Hz scale and parts of its neighbours. The
    constant (robust against plain deviation) was fitted on the UCDDB training recordings. NaN
    where the lead was off.
    """
    energy = 0.62 * x[:, 8] + x[:, 12] + 0.3 * x[:, 16]
    rms_uv = np.sqrt(energy / EPOCH_N_SAMPLES) * 1e6
    rms_uv = np.where(rms_uv > MIN_AMPLITUDE_UV, rms_uv, np.nan)
    return (np.log(rms_uv) - 0.08).astype(np.float32)


def held_out_subjects(subject: npt.NDArray[np.str_], seed: int) -> npt.NDArray[np.str_]:
    """Return the Sleep-EDF subjects, of those named, that are kept for selection."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.unique(subject), N_HELD_OUT_FEATURES, replace=False)


def load_features(folder: Path, seed: int) -> dict[str, Features]:
    """Read the Sleep-EDF features, split by subject, long wake before and after cut off."""
    with np.load(folder / FEATURES) as z:
        x, y = z["x"], z["y"].astype(np.int64)
        record, subject = z["record"], z["subject"]
    keep = np.zeros(len(y), dtype=bool)
    gain = np.zeros(len(y), dtype=np.float32)
    amps = band_log_amplitude(x)
    for name in np.unique(record):
        rows = np.flatnonzero(record == name)
        asleep = np.flatnonzero(y[rows] > 0)
        rows = rows[max(0, asleep[0] - 120) : asleep[-1] + 60]
        keep[rows] = y[rows] >= 0
        gain[rows] = RunningGain().follow(amps[rows])
    everything = Features(x, y, gain, subject)
    is_out = np.isin(subject, held_out_subjects(subject, seed))
    return {
        "train": everything.take(np.flatnonzero(keep & ~is_out)),
        "held_out": everything.take(np.flatnonzero(keep & is_out)),
    }


def night_shares(folder: Path, seed: int) -> Float32Array:
    """Return the shares of the stages in whole nights: UCDDB and Sleep-EDF, half and half."""
    ucddb = np.zeros(N_STAGES)
    for path in sorted((folder / "raw_eeg").glob("ucddb*.npz")):
        if path.stem not in DEVELOPMENT + HELD_OUT_RAW:
            with np.load(path) as z:
                night = z["y_night"].astype(int)
            ucddb += np.bincount(night[night >= 0], minlength=N_STAGES)
    edf = np.bincount(load_features(folder, seed)["train"].y, minlength=N_STAGES)
    return np.asarray((ucddb / ucddb.sum() + edf / edf.sum()) / 2, dtype=np.float32)
