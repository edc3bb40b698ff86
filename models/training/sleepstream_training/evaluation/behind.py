"""Decoders behind an encoder that errs: how much they mend, and what they then foresee.

In come nights with the probabilities of an encoder that sees spectral features only, and decoders;
out go staging and forecast tables, for that encoder and for spoiled versions of it: another
temperature, biases, a blind spot, noise. These stand for encoders that the decoder never met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sleepstream_training.decoder.batches import Tokens, distort
from sleepstream_training.evaluation import forecasting, forecasts, metrics, staging
from sleepstream_training.evaluation.forecasts import ForecastCounts
from sleepstream_training.evaluation.intervals import SEED
from sleepstream_training.evaluation.methods import Method, soft
from sleepstream_training.evaluation.metrics import StageCounts
from sleepstream_training.evaluation.tables import Table
from sleepstream_training.nights import Night

ABOUT = "behind a features-only encoder"
SPOILED = "behind spoiled encoders"
N_SPOILED = 3
"""Spoiled encoders for each night."""


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
        worse = [_spoiled(tokens, rng) for _ in range(N_SPOILED)]
        for name, method in methods.items():
            said = method(tokens)
            stages[name].append(metrics.count(tokens.stages, said.now))
            coming[name].append(forecasts.count(tokens.stages, said))
            spoiled[name] += [metrics.count(t.stages, method(t).now) for t in worse]
        on_night()
    subjects = [night.subject for night in nights]
    thrice = [subject for subject in subjects for _ in range(N_SPOILED)]
    return [
        *staging.whole("behind", ABOUT, staging.grouped(subjects, stages), ours),
        staging.agreement("behind-spoiled", f"Staging {SPOILED}", staging.grouped(thrice, spoiled)),
        *forecasting.whole("behind", ABOUT, forecasting.grouped(subjects, coming), ours),
    ]


def _spoiled(tokens: Tokens, rng: np.random.Generator) -> Tokens:
    return replace(tokens, probs=distort(tokens.probs, rng))
