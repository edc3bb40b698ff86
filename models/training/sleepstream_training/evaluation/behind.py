"""Decoders behind an encoder that errs: how much they mend, and what they then foresee.

In come nights with the probabilities of an encoder that sees spectral features only, and decoders;
out go staging and forecast tables, for that encoder and for versions of it that are spoiled, anew
for every night: another temperature, biases, a blind spot, noise. These stand for encoders that the
decoder never met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sleepstream_training.decoder.batches import Donors, Tokens, distort, filled
from sleepstream_training.evaluation import forecasting, forecasts, metrics, staging
from sleepstream_training.evaluation.forecasts import ForecastCounts
from sleepstream_training.evaluation.intervals import SEED
from sleepstream_training.evaluation.methods import Method, soft
from sleepstream_training.evaluation.metrics import StageCounts
from sleepstream_training.evaluation.tables import Table
from sleepstream_training.nights import Night, period

ABOUT = "behind a features-only encoder"
SPOILED = "behind spoiled encoders"
LONG_WAKE, MAX_EPOCHS = 240, 2880
"""Epochs before the sleep period that make a long wake; longer recordings are left out."""


def tables(
    nights: Sequence[Night],
    methods: Mapping[str, Method],
    ours: str,
    on_night: Callable[[], None] = lambda: None,
) -> list[Table]:
    """Return the staging and forecast tables.

    Parameters
    ----------
    nights : sequence of Night
        With probabilities, of subjects that neither encoder nor decoders have learned from.
    methods : mapping of str to Method
        The first one leaves the encoder's stages as they are.
    ours : str
        Which of them is judged.
    on_night : callable, optional
        Called after each night.
    """
    rng = np.random.default_rng(SEED)
    stages: dict[str, list[StageCounts]] = {name: [] for name in methods}
    coming: dict[str, list[ForecastCounts]] = {name: [] for name in methods}
    spoiled: dict[str, list[StageCounts]] = {name: [] for name in methods}
    for night in nights:
        tokens = soft(night)
        worse = replace(tokens, probs=distort(tokens.probs, rng))
        for name, method in methods.items():
            said, of_worse = method([tokens, worse])
            stages[name].append(metrics.count(tokens.stages, said.now))
            coming[name].append(forecasts.count(tokens.stages, said))
            spoiled[name].append(metrics.count(tokens.stages, of_worse.now))
        on_night()
    subjects = [night.subject for night in nights]
    return [
        *staging.whole("behind", ABOUT, staging.grouped(subjects, stages), ours),
        staging.agreement(
            "behind-spoiled", f"Staging {SPOILED}", staging.grouped(subjects, spoiled)
        ),
        *forecasting.whole("behind", ABOUT, forecasting.grouped(subjects, coming), ours),
    ]


def causality(nights: Sequence[Night], methods: Mapping[str, Method]) -> Table:
    """Return what the later methods lose to the first one, which sees the future."""
    counts = {
        name: [metrics.count(t.stages, method([t])[0].now) for t in map(soft, nights)]
        for name, method in methods.items()
    }
    groups = staging.grouped([night.subject for night in nights], counts)
    return staging.agreement("causality", "With the future in sight, and without", groups)


def after_long_wake(
    hypnograms: Sequence[Night], donors: Sequence[Night], methods: Mapping[str, Method]
) -> list[Table]:
    """Stage the sleep period of nights whose recording began hours before it, and just before it.

    Parameters
    ----------
    hypnograms : sequence of Night
        Whole recordings of subjects that no method has learned from.
    donors : sequence of Night
        Nights with an encoder's probabilities, with which the hypnograms are filled.
    methods : mapping of str to Method
        As for `tables`.

    Returns
    -------
    list of Table
        Empty where no recording begins so early.
    """
    rng, walker = np.random.default_rng(SEED), Donors(list(donors))
    counts: dict[str, list[StageCounts]] = {}
    subjects = []
    for night in hypnograms:
        part = period(night.stages)
        if part.start < LONG_WAKE or len(night.stages) > MAX_EPOCHS:
            continue
        probs = walker.walk(filled(night.stages), rng)
        long = Tokens(probs, np.ones(len(probs), dtype=bool), night.stages, soft=True)
        for name, method in methods.items():
            whole, short = method([long, long.part(part)])
            for start, said in (("hours", whole.now[part]), ("30 min", short.now)):
                key = f"{name}, from {start} before"
                counts.setdefault(key, []).append(metrics.count(night.stages[part], said))
        subjects.append(night.subject)
    if not subjects:
        return []
    groups = staging.grouped(subjects, counts)
    note = f"{len(subjects)} nights, filled with other nights' probabilities."
    return [staging.agreement("long-wake", "Staging after hours of wake", groups, note)]
