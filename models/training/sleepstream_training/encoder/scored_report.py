"""How good a finished encoder is on recordings that were held out to test it.

In come a model folder and prepared recordings, out go the tables of its card. Every recording is
staged by the serving code, epoch by epoch from its beginning, as `sleepstream run` would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sleepstream.messages import STAGES, Float32Array
from sleepstream.stager.encoder import Encoder
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.encoder.prepared import Prepared
from sleepstream_training.encoder.sources import Report
from sleepstream_training.evaluation import metrics
from sleepstream_training.evaluation.intervals import Figure, figure, figures, resampled
from sleepstream_training.evaluation.metrics import StageCounts

FIGURES = {
    "accuracy": metrics.accuracy,
    "kappa": metrics.kappa,
    "macro-F1": metrics.macro_f1,
    "ECE": metrics.ece,
}


@dataclass(frozen=True, slots=True)
class Tested:
    """A recording to test on, and which of its epochs count."""

    recording: Prepared
    counted: slice


def report(model: ModelFiles, tested: Sequence[Tested]) -> Report:
    """Stage recordings and write the tables.

    Parameters
    ----------
    model : ModelFiles
        The finished model.
    tested : sequence of Tested
        Held out; may be empty.
    """
    if not tested:
        return Report(
            "## How good it is\nUnknown: there was nobody to hold out. Name more subjects, or "
            "measure it with `sleepstream evaluate stager`.\n"
        )
    counts = [
        metrics.count(t.recording.codes[t.counted].astype(np.int64), staged(model, t))
        for t in tested
    ]
    subjects = [t.recording.about.subject for t in tested]
    groups = resampled(subjects, counts)
    found = {name: figure(statistic, groups) for name, statistic in FIGURES.items()}
    f1 = figures(metrics.f1, groups)
    text = f"""## How good it is
{len(set(subjects))} subjects ({len(tested)} recordings) that were neither learned from nor chosen
by, through the serving path, without a decoder. In brackets 95 % intervals over subjects
(bootstrap, 1000 draws){"" if len(set(subjects)) > 1 else "; of one subject there is none"}.

| {" | ".join(found)} |
|{"---|" * len(found)}
| {" | ".join(value.text() for value in found.values())} |

| | {" | ".join(stage.name for stage in STAGES)} |
|---|{"---|" * len(STAGES)}
| F1 | {" | ".join(value.text(2) for value in f1)} |

Scored (rows) against said (columns), epochs:

| | {" | ".join(stage.name for stage in STAGES)} |
|---|{"---|" * len(STAGES)}
{_confusion(groups.whole)}

| recording | subject | channel | epochs | accuracy | kappa | macro-F1 | recall W N1 N2 N3 REM |
|---|---|---|---|---|---|---|---|
{_each(tested, counts)}
"""
    return Report(text, {name.lower().replace("-", "_"): _plain(v) for name, v in found.items()})


def staged(model: ModelFiles, tested: Tested) -> Float32Array:
    """Return the probabilities, shape (n, 5), of the epochs that count."""
    encoder = Encoder.load(model, torch.device("cpu"))
    epochs = tested.recording.signals[: tested.counted.stop]
    probs = [encoder.step(np.array(epoch)[np.newaxis]).probs for epoch in epochs]
    return np.stack(probs)[tested.counted.start :]


def _confusion(whole: StageCounts) -> str:
    return "\n".join(
        f"| {stage.name} | " + " | ".join(f"{n:.0f}" for n in row) + " |"
        for stage, row in zip(STAGES, whole.confusion[0], strict=True)
    )


def _each(tested: Sequence[Tested], counts: Sequence[StageCounts]) -> str:
    rows = []
    for t, count in zip(tested, counts, strict=True):
        about, alone = t.recording.about, resampled([t.recording.about.subject], [count])
        said = [figure(FIGURES[name], alone).text() for name in ("accuracy", "kappa", "macro-F1")]
        recall = " ".join(value.text(2) for value in figures(metrics.recall, alone))
        n = int(metrics.n_epochs(alone.whole)[0])
        cells = [about.record, about.subject, about.channel, str(n), *said, recall]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _plain(value: Figure) -> list[float]:
    """Return value, low and high, as far as there are any."""
    known = [v for v in (value.value, value.low, value.high) if v is not None and not np.isnan(v)]
    return [round(v, 4) for v in known]
