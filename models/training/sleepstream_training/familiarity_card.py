"""The card of the judge of familiarity: what it asks, how often it is wrong, what it cannot tell.

In come how familiar it found nights that it has not learned from; out goes Markdown.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sleepstream.stager.familiarity import UNFAMILIAR
from sleepstream_training.decoder.data import FEATURES, HYPNOGRAMS, sha256
from sleepstream_training.encoder.data import DEVELOPMENT, HELD_OUT_RAW

COMMAND = (
    "python -m sleepstream_training.familiarity --data ../shared/data "
    "--out models/sleepstream_models/sleep-eeg"
)

Array = npt.NDArray[Any]


def card(data: Path, found: Mapping[str, Sequence[Array]]) -> str:
    """Return the card.

    Parameters
    ----------
    data : Path
        Folder of what was read.
    found : mapping of str to sequence of ndarray
        Familiarity of each epoch of nights that were not learned from, by what they are.
    """
    return f"""# Sleep EEG, or something else

Judges how far a signal looks like the sleep EEG that the other models have learned from: from 0 to
1, for each epoch in the light of the minutes before it. The stager mixes its probabilities with
"any stage" by what is missing to 1, and says why where it is below {UNFAMILIAR:g}. For research.
Not a medical device.

**Takes** the 17 spectral numbers of an epoch that the decoder reads, too, and what they were
before. **Gives** the least of three answers, each 1 within a limit and falling to 0 beyond it:

- amplitude: no more than a factor of ten outside of what nights of Sleep-EDF have;
- spectrum: a mixture of eight Gaussians over 14 numbers (energies and entropies of the wavelet
  bands below 25 Hz and shares of the bands below 45 Hz, gain taken out, so that mains hardly
  counts); the running mean of the negative log-likelihood, five minutes long;
- change: how much more the energy from 3 to 25 Hz differs from epoch to epoch than that of noise
  does, by chi-square; the running mean, ten minutes long, in which no epoch counts above four.

## How often it doubts sleep EEG
Nights that it has not learned from: share of epochs with a familiarity below 1, and below
{UNFAMILIAR:g}.

| nights | n | epochs | below 1 | below {UNFAMILIAR:g} | median | worst three |
|---|---|---|---|---|---|---|
{_rows(found)}

Most of it is in hours of Sleep-EDF where the electrode was off: SC4762, SC4591, SC4592. There the
power below 25 Hz falls to a thirtieth while mains rises. Of the two development recordings no epoch
is doubted, whatever the gain or the rate: `docs/models.md`, and what it does to a flat line, hum,
noise, hearts, muscle and a mouse, of which none was learned from.

## What it cannot tell
- It needs minutes: about three epochs at the start of a recording and ten in the middle of a night
  for a spectrum that no stage has. Noise takes ten to twenty epochs at the start and more than
  thirty in a night, and so does an open lead where mains is filtered out, which is such noise. And
  a night needs some minutes to be believed again.
- Noise whose power follows an EEG's own ups and downs is EEG to it, and so is the EEG of another
  mammal, a newborn or a patient where the spectrum fits. The mouse that was drawn is believed.
- Wake full of movement may be doubted for minutes, and so may an EOG or a chin lead or not: it
  learned from Fpz-Cz and C3-A2, bent as other derivations and filters would bend them.
  `--familiarity none` does without it.
- N1, N2 and REM were learned from Fpz-Cz and from made-up nights alone. In UCDDB some quarters of
  an hour of wake are nearly as steady as noise.
- A real heart, muscle or mouse was never seen: those it was tried on are drawings.
- The limit for noise was settled with drawn noises and the held-out nights of UCDDB in view: what
  is said of these is no test.

## How it was made
    {COMMAND}

It learns from the subjects of Sleep-EDF that the decoder may learn from, from UCDDB without
{", ".join(HELD_OUT_RAW)} and {DEVELOPMENT[0]} (W and N3 alone, counted four
times) and from 40 made-up nights of two hours (`sleepstream_replay.synthetic`, seeds 0 to 39, both
leads, counted twice, so that a demonstration is believed). Of each recording 300 epochs as they
are, as many bent as another derivation and gain would, and as many behind a low-pass as well.
Epochs without a head are left out, those with mains are not. The limits of amplitude and spectrum
are quantiles of these nights. That of change was set by hand between what chi-square says of noise
and the quietest wake. Seed
2026; the amplitude beyond which a movement counts no more was chosen, too.

| file | sha256 | licence |
|---|---|---|
| {FEATURES} | {sha256(data / FEATURES)} | ODC-By (Sleep-EDF Expanded, PhysioNet) |
| {HYPNOGRAMS} (the split) | {sha256(data / HYPNOGRAMS)} | per line |
{_files(data)}

numpy {np.__version__}, Python {platform.python_version()}; about two minutes on one thread.

Bishop CM. Novelty detection and neural network validation. IEE Proc Vis Image Signal Process
1994;141:217-222.
"""


def _rows(found: Mapping[str, Sequence[Array]]) -> str:
    lines = []
    for name, nights in found.items():
        every = np.concatenate(nights)
        shares = np.array([(night < UNFAMILIAR).mean() for night in nights])
        worst = ", ".join(f"{share:.1%}" for share in np.sort(shares)[:-4:-1])
        lines.append(
            f"| {name} | {len(nights)} | {len(every)} | {(every < 1).mean():.2%} "
            f"| {(every < UNFAMILIAR).mean():.2%} | {np.median(shares):.2%} | {worst} |"
        )
    return "\n".join(lines)


def _files(data: Path) -> str:
    skipped = DEVELOPMENT + HELD_OUT_RAW
    paths = [p for p in sorted((data / "raw_eeg").glob("ucddb*.npz")) if p.stem not in skipped]
    return "\n".join(
        f"| raw_eeg/{path.name} | {sha256(path)} | ODC-By (UCDDB, PhysioNet) |" for path in paths
    )
