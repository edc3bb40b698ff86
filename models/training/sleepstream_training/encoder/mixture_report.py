"""What the card of a shipped encoder says beside the usual: its data, and how good it is.

In come the finished model and the data folder, out go tables. They are made by the serving path
itself: the saved model, epoch by epoch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sleepstream.messages import EPOCH_N_SAMPLES, EPOCH_S, SFREQ, STAGES, Float32Array
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.encoder.calibration import figures
from sleepstream_training.encoder.data import (
    DEVELOPMENT,
    HELD_OUT_RAW,
    high_passed,
    load_development,
    load_recording,
)
from sleepstream_training.encoder.recipe import MixtureData
from sleepstream_training.encoder.sources import Report
from sleepstream_training.encoder.teachers import load_teachers, opinion
from sleepstream_training.strangers import stranger

GAINS = (1.0, 0.3, 3.0)

N_BEFORE, N_STRANGE = 120, 20
"""Epochs of a real recording before a signal that is no EEG, and epochs of that signal."""

STRANGERS = ("flat", "mains 50 Hz", "white noise *", "heart at 50", "loose contact")
"""The first three are near what the encoder learns not to know, the others are not."""

COLUMNS = ("n", "accuracy", "kappa", "macro_f1", "recall", "confidence", "ece")

Rows = dict[str, dict[str, str]]


def report(model: ModelFiles, folder: Path) -> Report:
    """Measure a shipped encoder on the development recordings, and on what is no EEG."""
    found: Rows = {}
    for recording in load_development(folder):
        epochs, y = np.concatenate(recording.runs), np.concatenate(recording.labels)
        for gain in GAINS:
            probs = staged(model, epochs * np.float32(gain))
            found[f"{recording.name} x{gain:g}"] = figures(probs, y)
        found[f"{recording.name} folds"] = figures(opinion(load_teachers(folder), epochs), y)
    text = f"""## How good it is
Single epochs, no context, through the serving path. These are *development* recordings: no
weights, temperature or bias were fitted or chosen on them, but the recipe was worked out with them
in view, so expect less on yours. Two are few, and the second is short. "x0.3" and "x3" are the same
recording with another gain; "folds" is the mean of the ten published TinySleepNet folds on the same
input (at the recording's own microvolts, which UCDDB does not calibrate).

| recording | epochs | accuracy | kappa | macro-F1 | recall W N1 N2 N3 REM | mean confidence | ECE |
|---|---|---|---|---|---|---|---|
{_table(found, COLUMNS)}

What is no EEG, mean confidence and the stage said most often: as a whole recording, and in the
middle of a real one. Certainty about nothing would be 0.20.

| signal | alone | within a night |
|---|---|---|
{_table(_confidence(model, folder), ("alone", "within"))}
"""
    return Report(text, {name: float(row["kappa"]) for name, row in found.items()})


def learned_from(data: MixtureData) -> str:
    """Return the paragraphs of the card on what the batches are made of."""
    return f"""1. {data.synthetic} synthetic epochs: signals shaped until their wavelet energies,
   entropies and band shares are those of a Sleep-EDF epoch (Fpz-Cz), with that epoch's true stage.
2. {data.real} windows of raw recordings (UCDDB, W and N3 alone; C3-A2). The target is what two
   teachers say, corrected lightly by the label. One is the mean of the ten published TinySleepNet
   folds of SleepGPT (Apache-2.0), which looks at each recording at the gain and tilt at which it
   agrees best with its labels; it taught, and none of its weights is in here. The other is boosted
   trees on spectral numbers, fitted to the true stages of the training subjects of Sleep-EDF.
   Their probabilities are multiplied.
3. {data.edited} such windows edited: mixed, spectrum bent, events of some stage added. The teachers
   alone label them, so that the recorder's own texture is seen in every stage.
4. {data.made_up} epochs of made-up nights (`sleepstream_replay.synthetic`, both EEG leads).
5. Flat lines, tones, white noise and overload, of which every stage is as likely as another.

All but the last changed as another montage, amplifier or room might. Split by subject: UCDDB
{", ".join(name[5:] for name in HELD_OUT_RAW)} and 16 subjects of Sleep-EDF were held out to choose
and calibrate by; {", ".join(DEVELOPMENT)} were left out of all of it."""


def staged(model: ModelFiles, epochs: Float32Array) -> Float32Array:
    """Return the probabilities, shape (n, 5), of consecutive epochs through the serving path."""
    encoder = Encoder.load(model, torch.device("cpu"))
    return np.stack([encoder.step(epoch[np.newaxis]).probs for epoch in epochs])


def _confidence(model: ModelFiles, folder: Path) -> Rows:
    """Return how sure the model is of what is no EEG: as a whole recording, and within one.

    Within one: after an hour of a held-out recording, so that the gain is settled.
    """
    night = np.concatenate(load_recording(folder / f"raw_eeg/{HELD_OUT_RAW[0]}.npz").runs)
    made = {
        name: stranger(name, N_STRANGE * EPOCH_S, SFREQ, np.random.default_rng(1))
        for name in STRANGERS
    }
    signals = {name: high_passed(x.reshape(-1, EPOCH_N_SAMPLES)) for name, x in made.items()}
    signals["the EEG x1000"] = night[-N_STRANGE:] * np.float32(1000)
    rows: Rows = {}
    for name, x in signals.items():
        within = np.concatenate((night[:N_BEFORE], x))
        for place, probs in (("alone", staged(model, x)), ("within", staged(model, within))):
            surest = probs[-N_STRANGE:].max(axis=1)
            stage = STAGES[int(np.bincount(probs[-N_STRANGE:].argmax(1)).argmax())].name
            rows.setdefault(name, {})[place] = f"{surest.mean():.2f} {stage}"
    return rows


def _table(rows: Rows, columns: tuple[str, ...]) -> str:
    return "\n".join(
        f"| {name} | " + " | ".join(str(row[c]) for c in columns) + " |"
        for name, row in rows.items()
    )
