"""The card of a trained encoder: what it is, how good, from what, how it was made, what it cannot.

In come the finished training and what its source found out; out goes Markdown.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import sleepstream
from sleepstream.messages import STAGES
from sleepstream_training.encoder.calibration import Calibration
from sleepstream_training.encoder.fitting import Progress
from sleepstream_training.encoder.recipe import Recipe
from sleepstream_training.encoder.sources import Report, TrainingData
from sleepstream_training.runs import Processes

N_CURVE = 24
"""Lines of the curves that the card shows, evenly spread."""

BARS = " ▁▂▃▄▅▆▇█"
DETAILS = ("accuracy", "kappa", "confidence", "ece", "log_loss", "stage_errors", "selective")


@dataclass(frozen=True, slots=True)
class Story:
    """All that a card tells of how a model came about.

    Attributes
    ----------
    name : str
        Of the model.
    recipe : Recipe
        With the changes of the command line.
    command : sequence of str
        As it was given.
    processes : Processes
        How many, and where.
    progress : Progress
        Steps, seconds, which were the best.
    curves : sequence of dict
        Lines of the curves.
    calibration : Calibration
        What is done to the logits.
    validation : mapping
        Figures of each held-out set after the calibration.
    """

    name: str
    recipe: Recipe
    command: Sequence[str]
    processes: Processes
    progress: Progress
    curves: Sequence[dict[str, Any]]
    calibration: Calibration
    validation: Mapping[str, Mapping[str, Any]]


def card(story: Story, data: TrainingData, found: Report) -> str:
    """Return the card.

    Parameters
    ----------
    story : Story
        How the model came about.
    data : TrainingData
        What it learned from.
    found : Report
        How good it is.
    """
    limits = "\n".join(f"- {limit}" for limit in data.limits)
    return f"""# {story.name}: {story.recipe.model.arch}, trained with sleepstream

{story.recipe.about} For research. Not a medical device; never a basis for a diagnosis.

**Takes** (1, 3000) float32, microvolts, 100 Hz, causal 0.3 Hz high-pass: one derivation. A causal
running gain takes the recording's amplitude out, so a factor of 0.3 to 3 in the amplifier does not
matter. **Gives** five probabilities. {_calibrated(story.calibration)}

{found.text.rstrip()}

{_validated(story.validation)}## What it learned from
{data.learned_from}

| file | sha256 | what |
|---|---|---|
{_files(data)}

## How it was made
    {shlex.join(story.command)}

{_made(story)}

{_curves(story.curves)}

The recipe, with all that was changed on the command line:

```json
{json.dumps(story.recipe.as_json(), indent=1)}
```

## What it cannot do
{limits}
"""


def _calibrated(calibration: Calibration) -> str:
    names = " ".join(stage.name for stage in STAGES)
    if not any(calibration.bias):
        return f"The logits are divided by a temperature of {calibration.temperature}."
    return (
        f"To the logits ({names}) {list(calibration.bias)} is added,\nand they are divided by a "
        f"temperature of {calibration.temperature}."
    )


def _validated(validation: Mapping[str, Mapping[str, Any]]) -> str:
    if not validation:
        return (
            "Nothing was held out to choose the weights or to fit a temperature by: they are the "
            "last ones,\nand how far the probabilities can be trusted is unknown.\n\n"
        )
    rows = "\n".join(
        f"| {name} | " + " | ".join(str(row[key]) for key in DETAILS) + " |"
        for name, row in validation.items()
    )
    return f"""\
On what was held out to choose the weights and to calibrate, so these are no test results.
The calibration error of each stage is of its probability against the rest; the last column is the
accuracy among the surest 25, 50, 75 and 100 % of the epochs.

| held out | accuracy | kappa | confidence | ECE | log loss | ECE W N1 N2 N3 REM | selective |
|---|---|---|---|---|---|---|---|
{rows}

"""


def _files(data: TrainingData) -> str:
    unique = dict.fromkeys(data.files)
    return "\n".join(f"| {f.name} | {f.sha256} | {f.what} |" for f in unique) or "| none | – | – |"


def _made(story: Story) -> str:
    progress, training = story.progress, story.recipe.training
    best = (
        f"The running average of the weights was kept where it did best on what was held out: step "
        f"{progress.best_step}."
        if story.validation
        else "The running average of the weights after the last step was kept."
    )
    by_clock = (
        f" `--steps {progress.n_steps}` instead of `--minutes` repeats them exactly."
        if training.minutes
        else ""
    )
    return f"""Seed {training.seed}; {progress.step} steps of {training.batch}, in \
{progress.elapsed_s / 60:.1f} minutes of wall clock.{by_clock}
{best}
On {story.processes.place}; {platform.system()} {platform.machine()}, {os.cpu_count()} cores, \
{training.threads} thread(s). sleepstream {sleepstream.__version__},
torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}."""


def _curves(curves: Sequence[dict[str, Any]]) -> str:
    """Return the curves as one line of bars each, and some of their numbers as a table."""
    if not curves:
        return ""
    names = [name for name in curves[0] if name not in {"step", "elapsed_s", "rate"}]
    width = max(map(len, names))
    bars = "\n".join(f"    {name:<{width}} {_bars(curves, name)}" for name in names)
    step = -(-len(curves) // N_CURVE)
    some = [*curves[:-1:step], curves[-1]]
    rows = "\n".join(
        f"| {line['step']} | " + " | ".join(f"{line[name]:.4f}" for name in names) + " |"
        for line in some
    )
    return f"""From the first look to the last ({len(curves)} looks), lowest to highest:

{bars}

| step | {" | ".join(names)} |
|---|{"---|" * len(names)}
{rows}"""


def _bars(curves: Sequence[dict[str, Any]], name: str) -> str:
    step = -(-len(curves) // 60)
    values = np.array([line[name] for line in curves[::step]])
    low, high = values.min(), values.max()
    heights = np.rint((values - low) / max(high - low, 1e-9) * (len(BARS) - 2)).astype(int) + 1
    return f"{''.join(BARS[h] for h in heights)}  {low:.3f} to {high:.3f}"
