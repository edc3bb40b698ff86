"""A night on record becomes a file for other programs.

In come a night's epochs as they were staged and the estimates of them; out goes one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from sleepstream.messages import EPOCH_S, SFREQ, Epoch, StageEstimate, stage_name

EDF_RANGE_UV = 3276.7
"""EDF has 16 bits: with this range a step is 0.1 µV, and what is larger (no EEG) is cut off."""


def write_npz(path: Path, epochs: Sequence[Epoch], estimates: Sequence[StageEstimate]) -> None:
    """Write a night as NumPy arrays: the signal to the bit, and what was said about it.

    Parameters
    ----------
    path : Path
        The file.
    epochs : sequence of Epoch
        In order, none left out.
    estimates : sequence of StageEstimate
        One for each.
    """
    np.savez_compressed(
        path,
        signal=np.concatenate([epoch.data for epoch in epochs]),
        sfreq=SFREQ,
        onset_s=np.array([epoch.onset_s for epoch in epochs]),
        valid=np.array([epoch.valid for epoch in epochs]),
        derivation=np.array([epoch.derivation for epoch in epochs]),
        stage=np.array([stage_name(estimate.stage) for estimate in estimates]),
        probs=np.stack([estimate.probs for estimate in estimates]),
    )


def write_edf(
    path: Path, epochs: Sequence[Epoch], estimates: Sequence[StageEstimate], start: datetime
) -> None:
    """Write a night as EDF+: the signal in steps of 0.1 µV, the stages as annotations.

    Parameters
    ----------
    path : Path
        The file.
    epochs : sequence of Epoch
        In order, none left out.
    estimates : sequence of StageEstimate
        One for each.
    start : datetime
        When the night began.
    """
    import edfio  # noqa: PLC0415 - only where a file is written

    labels = {epoch.derivation for epoch in epochs}
    label = labels.pop() if len(labels) == 1 else ""
    signal = edfio.EdfSignal(
        np.clip(np.concatenate([e.data[0] for e in epochs]), -EDF_RANGE_UV, EDF_RANGE_UV),
        SFREQ,
        label=label.encode("ascii", "replace").decode()[:16] or "EEG",
        physical_dimension="uV",
        physical_range=(-EDF_RANGE_UV, EDF_RANGE_UV),
        prefiltering="HP:0.3Hz",
    )
    stages = [
        edfio.EdfAnnotation(index * EPOCH_S, EPOCH_S, f"Sleep stage {_aasm(estimate)}")
        for index, estimate in enumerate(estimates)
    ]
    edfio.Edf(
        [signal],
        annotations=stages,
        recording=edfio.Recording(startdate=start.date()),
        starttime=start.time().replace(microsecond=0),
    ).write(path)


def _aasm(estimate: StageEstimate) -> str:
    """Return the stage as scored recordings have it: ``R`` for REM."""
    name = stage_name(estimate.stage)
    return "R" if name == "REM" else name
