"""The card of the judge of familiarity: what it asks, how often it is wrong, what it cannot tell.

In come the figures of a fit; out goes Markdown.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sleepstream.messages import Float32Array
from sleepstream.stager.familiarity import UNFAMILIAR
from sleepstream_training.decoder.data import FEATURES, HYPNOGRAMS, sha256
from sleepstream_training.encoder.data import DEVELOPMENT, HELD_OUT_RAW, high_passed
from sleepstream_training.encoder.strange import UNSEEN, unseen

SEED = 1
N_STRANGE = 40
"""Epochs of each signal that is no sleep EEG: twenty minutes."""

Array = npt.NDArray[Any]
Judged = Callable[[Iterable[Float32Array]], Array]


def card(
    data: Path,
    command: str,
    shares: Mapping[str, Array],
    by_recording: Mapping[str, Array],
    judged: Judged,
) -> str:
    """Return the card.

    Parameters
    ----------
    data : Path
        Folder of what was read.
    command : str
        That made the model.
    shares : mapping of str to ndarray
        Share of each night's epochs that were called unfamiliar by their spectrum.
    by_recording : mapping of str to ndarray
        Familiarity of each epoch of raw recordings that were not learned from.
    judged : callable
        From consecutive epochs to their familiarity.
    """
    return f"""# Sleep EEG, or something else

Judges how far a signal is like the sleep EEG that the other models have learned from: from 0 to 1,
for each epoch in the light of the last five minutes. The stager mixes its probabilities with "any
stage" by what is missing to 1, and says why where it is below {UNFAMILIAR:g}. For research. Not a
medical device.

**Takes** (1, 3000) float32, microvolts, 100 Hz, high-passed, and the 17 spectral numbers of it.
**Gives** the least of four answers, each 1 within a limit and falling to 0 beyond it:

- amplitude: no more than a factor of ten (100 in power) outside of what Sleep-EDF nights have;
- shape of the spectrum, gain taken out: likelihood under a mixture of eight Gaussians over
  16 numbers, in this epoch (1 for 99.5 % of the training epochs, 0 beyond 99.95 %) and as a running
  mean over ten (99.8 and 99.99 %);
- beat: how far the autocorrelation of the size of the slope rises again after 0.35 to 1.8 s;
- liveliness: how much more the power of 2-6, 6-14 and 14-30 Hz fluctuates within seconds than that
  of noise of the same colour, as a running mean over ten epochs.

## How often it doubts sleep EEG
Share of epochs below {UNFAMILIAR:g}, by the spectrum alone (no signals of Sleep-EDF are here).
Left out: leads that are off, and epochs with 40 % or more of their power above 45 Hz: mains, which
drowns four of the held-out nights for hours. Those are doubted, and rightly: with hum as large as
the EEG, the encoder's kappa on ucddb018 fell from .76 to .45, and its confidence only to .65.

| nights | n | mean | median | worst three |
|---|---|---|---|---|
{_shares(shares)}

Raw recordings that were not learned from, all four answers (the UCDDB subjects have W and N3 alone;
the last two are development recordings, and some limits were chosen with them in view):

| recording | epochs | mean familiarity | below {UNFAMILIAR:g} |
|---|---|---|---|
{_recordings(by_recording)}

## What it doubts
{N_STRANGE} epochs of each, as a recording of its own (`encoder/strange.py`, seed {SEED}); none was
learned from. What it does to the confidence of the whole stager is in `docs/models.md`.

| signal | mean familiarity | first epoch below {UNFAMILIAR:g} |
|---|---|---|
{_strangers(judged)}

## What it cannot tell
- It needs minutes for what is like EEG within an epoch: noise with the colour of an EEG takes about
  ten epochs, in the middle of a night more. And a night needs some minutes to be believed again.
- Noise whose power follows an EEG's own ups and downs is EEG to it, and so is the EEG of another
  mammal, a newborn or a patient if the spectrum fits. The mouse here is a drawing of one: theta of
  7 to 9 Hz, large delta, changes every 4 to 20 s.
- Wake full of movement may be doubted: in some UCDDB recordings a tenth of the wake epochs are.
- EEG under strong hum is doubted, though a person would stage it through a notch filter.
- An EOG or a chin lead may be doubted or not: it learned from Fpz-Cz and C3-A2, bent as other
  derivations would bend them. `--familiarity none` does without it.
- N1, N2 and REM were learned from Fpz-Cz alone. A few people's quiet wake is nearly as steady as
  noise, and a heart in the EEG may be mistaken for a heart.

## How it was made
    {command}

A training subject of Sleep-EDF is one that the decoder may learn from, too. From each night up to
300 epochs as they are and twice 300 bent (gain, tilt, low-pass, high-pass, noise); UCDDB subjects
count four times. Most limits are quantiles of the training nights; those of beat and liveliness
were set by hand, between UCDDB and what physics says of noise. The decoder's and this model's
held-out subjects are the same.

| file | sha256 | licence |
|---|---|---|
| {FEATURES} | {sha256(data / FEATURES)} | ODC-By (Sleep-EDF Expanded, PhysioNet) |
| {HYPNOGRAMS} (the split) | {sha256(data / HYPNOGRAMS)} | per line |
{_files(data)}

torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}; two minutes
on one thread.
"""


def _shares(shares: Mapping[str, Array]) -> str:
    return "\n".join(
        f"| {name} | {len(each)} | {each.mean():.2%} | {np.median(each):.2%} | "
        f"{', '.join(f'{share:.1%}' for share in np.sort(each)[:-4:-1])} |"
        for name, each in shares.items()
    )


def _recordings(by_recording: Mapping[str, Array]) -> str:
    return "\n".join(
        f"| {name} | {len(f)} | {f.mean():.3f} | {(f < UNFAMILIAR).mean():.1%} |"
        for name, f in by_recording.items()
    )


def _strangers(judged: Judged) -> str:
    lines = []
    for name in UNSEEN:
        f = judged(high_passed(unseen(name, N_STRANGE, np.random.default_rng(SEED))))
        low = np.flatnonzero(f < UNFAMILIAR)
        first = str(low[0] + 1) if len(low) else "never"
        lines.append(f"| {name} | {f.mean():.2f} | {first} |")
    return "\n".join(lines)


def _files(data: Path) -> str:
    skipped = DEVELOPMENT + HELD_OUT_RAW
    paths = [p for p in sorted((data / "raw_eeg").glob("ucddb*.npz")) if p.stem not in skipped]
    return "\n".join(
        f"| raw_eeg/{path.name} | {sha256(path)} | ODC-By (UCDDB, PhysioNet) |" for path in paths
    )
