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
from encoder_data import DEVELOPMENT, FEATURES, HELD_OUT_RAW, N_HELD_OUT_FEATURES, load_development
from encoder_pools import STAGE_SHARES, load_teachers, opinion
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, recall_score

from sleepstream.messages import STAGES, Float32Array
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.weights import save_model

GAINS = (1.0, 0.3, 3.0)
TITLES = {"tinysleepnet": "TinySleepNet", "deepsleepnet": "DeepSleepNet"}

Rows = dict[str, dict[str, Any]]


def write_model(
    args: argparse.Namespace,
    state: dict[str, torch.Tensor],
    bias: list[float],
    progress: dict[str, Any],
    selection: dict[str, float],
) -> None:
    """Save the model, measure it on the development recordings and write its card."""
    tensors = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    content: dict[str, Any] = {
        "kind": "encoder",
        "arch": args.arch,
        "tensors": tensors,
        "options": {"front_end": "running-gain", "gain_memory": 240, "logit_bias": bias},
        "seed": args.seed,
        "steps": progress["step"],
        "license": "BSD-3-Clause",
    }
    model = save_model(args.out, card="not measured yet\n", **content)
    figures: Rows = {}
    for recording in load_development(args.data):
        epochs, y = np.concatenate(recording.runs), np.concatenate(recording.labels)
        for gain in GAINS:
            encoder = Encoder.load(model, torch.device("cpu"))
            probs = [encoder.step(e[None] * np.float32(gain)).probs for e in epochs]
            figures[f"{recording.name} x{gain:g}"] = agreement(y, np.stack(probs))
        teachers = opinion(load_teachers(args.data), epochs)
        figures[f"{recording.name} folds"] = agreement(y, teachers)
    metrics = {name: row["kappa"] for name, row in figures.items()}
    text = card(args, progress, selection, bias, figures)
    save_model(args.out, card=text, **content, development_kappa=metrics)
    print(text, flush=True)


def agreement(y: npt.NDArray[np.int64], probs: Float32Array) -> dict[str, Any]:
    """Return accuracy, kappa, macro-F1 and the recall of each stage that occurs."""
    said = probs.argmax(axis=1)
    recall = recall_score(y, said, labels=range(5), average=None, zero_division=np.nan)
    return {
        "n": len(y),
        "accuracy": round(float(accuracy_score(y, said)), 3),
        "kappa": round(float(cohen_kappa_score(y, said)), 3),
        "macro_f1": round(float(f1_score(y, said, average="macro")), 3),
        "recall": " ".join("–" if np.isnan(r) else f"{r:.2f}" for r in recall),
    }


def card(
    args: argparse.Namespace,
    progress: dict[str, Any],
    selection: dict[str, float],
    bias: list[float],
    figures: Rows,
) -> str:
    """Return the model card."""
    rows = "\n".join(
        f"| {name} | {f['n']} | {f['accuracy']} | {f['kappa']} | {f['macro_f1']} | {f['recall']} |"
        for name, f in figures.items()
    )
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
**Gives** five probabilities. Part of the training's prior is corrected by adding to the logits
({", ".join(s.name for s in STAGES)}): {bias}.

## How good it is
Single epochs, no context, through the serving path. These are *development* recordings: no
weights were trained or chosen on them, but the recipe was worked out with them in view (above all
which stages' prior to correct), so expect less on yours. Two are few, and the second is short.
"x0.3" and "x3" are the same recording with another gain; "folds" is the mean of the ten published
TinySleepNet folds on the same input.

| recording | epochs | accuracy | kappa | macro-F1 | recall W N1 N2 N3 REM |
|---|---|---|---|---|---|
{rows}

On the subjects held out for selection, before the prior correction: kappa
{selection["synthetic_kappa"]} on 3,000 synthetic epochs ({N_HELD_OUT_FEATURES} Sleep-EDF
subjects); recall of real W {selection["real_w_recall"]} and of real N3
{selection["real_n3_recall"]} (UCDDB {", ".join(name[5:] for name in HELD_OUT_RAW)}).

## What it learned from
1. Real epochs of 19 UCDDB subjects (C3-A2): only W and N3 exist in the set. Windows start
   anywhere in a run. The target is the label, a quarter of it what the teachers say.
2. Mixtures of such windows, labelled by the teachers alone: the mean of the ten published
   TinySleepNet folds of SleepGPT (Apache-2.0). They taught; none of their weights is in here.
3. {args.n_synthetic} synthetic epochs: signals shaped until their wavelet energies, entropies and
   band shares are those of a Sleep-EDF epoch (64 subjects, Fpz-Cz), with that epoch's true stage
   and the events that define it. Shares: {shares}.

All under augmentation: spectral tilt (another montage), gain, filters, hum, noise, polarity,
missing samples. Split by subject. {", ".join(DEVELOPMENT)} were left out of all of it.

| file | sha256 | licence |
|---|---|---|
{hashes(args.data)}

## How it was made
    {command}

Seed {args.seed}; {progress["step"]} steps of 64 epochs in {progress["elapsed_s"] / 60:.1f} minutes
of wall clock on one thread of a shared machine ({platform.machine()}), after making the data. The
running average of the weights was kept where it did best on the held-out subjects: step
{progress["best_step"]}. torch {torch.__version__}, numpy {np.__version__}, Python
{platform.python_version()}.
`--steps {progress["step"]}` instead of `--minutes` makes the same number of steps anywhere.

## What it cannot do
- On `prerau_segment`, a short frontal recording, the published folds are much better: they learned
  from real frontal nights. Deep sleep is called N2 too often there, and REM wake.
- N1 is hardly ever said. Without the neighbours, N1, REM and quiet wake look alike.
- It never learned from a real N1, N2 or REM epoch with a human label, only from synthetic ones.
- Trained on adults (healthy, or with suspected apnoea), frontal and central derivations. Children,
  neurological disease, drugs that change the EEG, ear or forehead electrodes: untried.
- Artefacts are not a class: a bad lead gets a stage too. Look at the signal quality beside it.
"""


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
