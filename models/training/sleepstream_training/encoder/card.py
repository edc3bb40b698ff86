"""Write a trained encoder into its model folder, with a card that says how good it is.

In come weights and the numbers of the training, out goes the model folder. The figures on the
card are made by the serving path itself: the saved model, epoch by epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import recall_score

from sleepstream.messages import STAGES, Float32Array
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.weights import ModelFiles, save_model
from sleepstream_training.encoder.calibration import Calibration, figures
from sleepstream_training.encoder.data import (
    DEVELOPMENT,
    FEATURES,
    HELD_OUT_RAW,
    N_HELD_OUT_FEATURES,
    high_passed,
    load_development,
    load_recording,
)
from sleepstream_training.encoder.pools import STAGE_SHARES
from sleepstream_training.encoder.strange import UNSEEN, unseen
from sleepstream_training.encoder.teachers import load_teachers, opinion

GAINS = (1.0, 0.3, 3.0)
TITLES = {"tinysleepnet": "TinySleepNet", "deepsleepnet": "DeepSleepNet"}

N_BEFORE, N_STRANGE = 120, 20
"""Epochs of a real recording before a signal that is no EEG, and epochs of that signal."""

DETAILS = ("stage_errors", "selective")

Rows = dict[str, dict[str, Any]]


def write_model(
    args: argparse.Namespace,
    state: dict[str, torch.Tensor],
    calibration: Calibration,
    progress: dict[str, Any],
    validation: Rows,
) -> None:
    """Save the model, measure it on the development recordings and write its card."""
    tensors = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    content: dict[str, Any] = {
        "kind": "encoder",
        "arch": args.arch,
        "tensors": tensors,
        "options": {
            "front_end": "running-gain",
            "gain_memory": 240,
            "logit_bias": list(calibration.bias),
            "temperature": calibration.temperature,
        },
        "seed": args.seed,
        "steps": progress["step"],
        "license": "BSD-3-Clause",
    }
    model = save_model(args.out, card="not measured yet\n", **content)
    found: Rows = {}
    for recording in load_development(args.data):
        epochs, y = np.concatenate(recording.runs), np.concatenate(recording.labels)
        for gain in GAINS:
            probs = staged(model, epochs * np.float32(gain))
            found[f"{recording.name} x{gain:g}"] = measured(y, probs)
        teachers = opinion(load_teachers(args.data), epochs)
        found[f"{recording.name} folds"] = measured(y, teachers)
    metrics = {name: row["kappa"] for name, row in found.items()}
    tables = (validation, found, confidence(model, args.data))
    text = card(args, progress, calibration, tables)
    save_model(args.out, card=text, **content, development_kappa=metrics)
    print(text, flush=True)


def staged(model: ModelFiles, epochs: Float32Array) -> Float32Array:
    """Return the probabilities, shape (n, 5), of consecutive epochs through the serving path."""
    encoder = Encoder.load(model, torch.device("cpu"))
    return np.stack([encoder.step(epoch[None]).probs for epoch in epochs])


def measured(y: npt.NDArray[np.int64], probs: Float32Array) -> dict[str, Any]:
    """Return the figures of a recording with the recall of each stage that occurs."""
    recall = recall_score(y, probs.argmax(1), labels=range(5), average=None, zero_division=np.nan)
    shown = " ".join("–" if np.isnan(r) else f"{r:.2f}" for r in recall)
    return {"n": len(y), "recall": shown, **figures(probs, y)}


def confidence(model: ModelFiles, data: Path) -> Rows:
    """Return how sure the model is of what is no EEG: as a whole recording, and within one.

    Within one: after an hour of a held-out recording, so that the gain is settled.
    """
    night = np.concatenate(load_recording(data / f"raw_eeg/{HELD_OUT_RAW[0]}.npz").runs)
    signals = {name: unseen(name, N_STRANGE, np.random.default_rng(1)) for name in UNSEEN}
    signals = {name: high_passed(x) for name, x in signals.items()}
    signals["the EEG x1000"] = night[-N_STRANGE:] * np.float32(1000)
    rows: Rows = {}
    for name, x in signals.items():
        within = np.concatenate((night[:N_BEFORE], x))
        for place, probs in (("alone", staged(model, x)), ("within", staged(model, within))):
            surest = probs[-N_STRANGE:].max(axis=1)
            stage = STAGES[int(np.bincount(probs[-N_STRANGE:].argmax(1)).argmax())].name
            rows.setdefault(name, {})[place] = f"{surest.mean():.2f} {stage}"
    return rows


def card(
    args: argparse.Namespace,
    progress: dict[str, Any],
    calibration: Calibration,
    tables: tuple[Rows, Rows, Rows],
) -> str:
    """Return the model card; tables of what was held out, development, and what is no EEG."""
    validation, found, sure = tables
    shares = ", ".join(
        f"{s.name} {share:.0%}" for s, share in zip(STAGES, STAGE_SHARES, strict=True)
    )
    command = shlex.join(["python", *sys.argv])
    return f"""# {TITLES[args.arch]} (sleepstream's own weights)

Stages one 30 s epoch of one EEG derivation: W, N1, N2, N3, REM. It looks at that epoch alone;
what the night says about it is the decoder's task. Trained by this project from its own random
initialisation. For research. Not a medical device; never a basis for a diagnosis.

**Takes** (1, 3000) float32, microvolts, 100 Hz, causal 0.3 Hz high-pass. A causal running gain
takes the recording's amplitude out, so a factor of 0.3 to 3 in the amplifier does not matter.
**Gives** five probabilities. {calibrated(calibration)}

## How good it is
Single epochs, no context, through the serving path. These are *development* recordings: no
weights, temperature or bias were fitted or chosen on them, but the recipe was worked out with them
in view, so expect less on yours. Two are few, and the second is short. "x0.3" and "x3" are the same
recording with another gain; "folds" is the mean of the ten published TinySleepNet folds on the same
input (at the recording's own microvolts, which UCDDB does not calibrate).

| recording | epochs | accuracy | kappa | macro-F1 | recall W N1 N2 N3 REM | mean confidence | ECE |
|---|---|---|---|---|---|---|---|
{table(found, ("n", "accuracy", "kappa", "macro_f1", "recall", "confidence", "ece"))}

On the subjects and made-up nights held out for selection and calibration, single epochs without a
night before them (so these are no test results). "real" is W and N3 alone, UCDDB
{", ".join(name[5:] for name in HELD_OUT_RAW)}; "synthetic" has the stages and features of
{N_HELD_OUT_FEATURES} Sleep-EDF subjects; "made_up" is the generator of the demo. The calibration
error of each stage is of its probability against the rest; the last column is the accuracy among
the surest 25, 50, 75 and 100 % of the epochs.

| held out | accuracy | kappa | confidence | ECE | log loss | ECE W N1 N2 N3 REM | selective |
|---|---|---|---|---|---|---|---|
{table(validation, ("accuracy", "kappa", "confidence", "ece", "log_loss", *DETAILS))}

Before the calibration: recall of real W {progress["real_w_recall"]} and of real N3
{progress["real_n3_recall"]}.

What is no EEG, mean confidence and the stage said most often: as a whole recording, and in the
middle of a real one. Certainty about nothing would be 0.20.

| signal | alone | within a night |
|---|---|---|
{table(sure, ("alone", "within"))}

## What it learned from
1. {args.n_synthetic} synthetic epochs: signals shaped until their wavelet energies, entropies and
   band shares are those of a Sleep-EDF epoch (64 subjects, Fpz-Cz), with that epoch's true stage
   and the events that define it. Shares: {shares}.
2. {args.n_real} real windows of 19 UCDDB subjects (C3-A2), of which only W and N3 are in the set.
   The target is what the teachers say, corrected lightly by the label. The teachers are the mean of
   the ten published TinySleepNet folds of SleepGPT (Apache-2.0). They look at each recording at the
   gain and tilt at which they agree best with its labels. They taught; none of their weights is in
   here.
3. {args.n_edited} such windows edited: mixed, spectrum bent, events of some stage added. The
   teachers alone label them, so that the recorder's own texture is seen in every stage.
4. {args.n_made_up} epochs of made-up nights (`sleepstream_replay.synthetic`, both EEG leads).
5. Flat lines, tones, white noise and overload, of which every stage is as likely as another.

All but the last under augmentation: spectral tilt (another montage), gain, the start of a night,
filters, hum, noise, polarity, missing samples. Split by subject. {", ".join(DEVELOPMENT)} were left
out of all of it.

| file | sha256 | licence |
|---|---|---|
{hashes(args.data)}

## How it was made
    {command}

Seed {args.seed}; {progress["step"]} steps of 64 epochs in {progress["elapsed_s"] / 60:.1f} minutes
of wall clock on one thread of a shared machine ({platform.machine()}), after making the data. The
running average of the weights was kept where it did best on what was held out: step
{progress["best_step"]}. torch {torch.__version__}, numpy {np.__version__}, Python
{platform.python_version()}.
`--steps {progress["step"]}` instead of `--minutes` makes the same number of steps anywhere.

## What it cannot do
- N1 is hardly ever said. Without the neighbours, N1, REM and quiet wake look alike.
- It never learned from a real N1, N2 or REM epoch with a human label, only from synthetic ones.
- Its probabilities were calibrated on held-out synthetic epochs for the most part. On another
  recorder they are as good as the table of the development recordings shows, and no better known.
- Trained on adults (healthy, or with suspected apnoea), frontal and central derivations. Children,
  neurological disease, drugs that change the EEG, ear or forehead electrodes: untried.
- Artefacts are not a class: a bad lead gets a stage too. Look at the signal quality beside it.
"""


def calibrated(calibration: Calibration) -> str:
    """Return the sentence about temperature and bias."""
    names = ", ".join(s.name for s in STAGES)
    if any(calibration.bias):
        return (
            f"To the logits ({names}) {list(calibration.bias)}\nis added, and they are divided by "
            f"a temperature of {calibration.temperature}; both fitted on what was held out."
        )
    return (
        f"The logits are divided by a temperature of {calibration.temperature}, fitted\non what "
        "was held out. A bias for each stage was tried there and did not hold up."
    )


def table(rows: Rows, columns: tuple[str, ...]) -> str:
    """Return the lines of a table."""
    return "\n".join(
        f"| {name} | " + " | ".join(str(row[c]) for c in columns) + " |"
        for name, row in rows.items()
    )


def hashes(data: Path) -> str:
    """Return the table rows of the files that were read."""
    published = "third_party_weights/sleepgpt"
    lines = [(FEATURES, "ODC-By (Sleep-EDF Expanded, PhysioNet)")]
    lines += [(p.relative_to(data), "ODC-By (UCDDB, PhysioNet)") for p in _raw(data)]
    lines += [
        (p.relative_to(data), "Apache-2.0 (SleepGPT; teacher only)")
        for p in sorted((data / published).glob("tinysleepnet_fold*.tar"))
    ]
    return "\n".join(
        f"| {path} | {hashlib.sha256((data / path).read_bytes()).hexdigest()} | {licence} |"
        for path, licence in lines
    )


def _raw(data: Path) -> list[Path]:
    paths = sorted((data / "raw_eeg").glob("ucddb*.npz"))
    return [path for path in paths if path.stem not in DEVELOPMENT]
