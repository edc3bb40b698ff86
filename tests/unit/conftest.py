"""What several unit tests make their files with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, time
from pathlib import Path

import edfio
import numpy as np
import pytest

MakeEdf = Callable[..., Path]


@pytest.fixture
def make_edf(tmp_path: Path) -> MakeEdf:
    """Return a writer of EDF+ files with noise of 20 µV, the same for the same label."""

    def make(
        name: str,
        seconds: int = 150,
        labels: Sequence[str] = ("EEG Fpz-Cz", "EOG horizontal"),
        sfreq: float | Sequence[float] = 100.0,
        notes: Sequence[tuple[float, float | None, str]] = (),
        start: str = "22:00:00",
        day: date = date(2001, 3, 4),
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rates = [sfreq] * len(labels) if isinstance(sfreq, float) else sfreq
        signals = [
            edfio.EdfSignal(
                np.random.default_rng([*label.encode()]).normal(size=int(seconds * rate)) * 20,
                sampling_frequency=rate,
                label=label,
                physical_dimension="uV",
                physical_range=(-500, 500),
            )
            for label, rate in zip(labels, rates, strict=True)
        ]
        edfio.Edf(
            signals,
            annotations=[edfio.EdfAnnotation(*note) for note in notes],
            recording=edfio.Recording(startdate=day),
            starttime=time.fromisoformat(start),
        ).write(path)
        return path

    return make
