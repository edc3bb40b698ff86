"""Which nights a model may be judged on, and what the answer is made of.

In come models by name and nights; out go tables, and sentences that say what was left out and why.
The commands and ``evaluate all`` both go through here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sleepstream.errors import RecordingError
from sleepstream.stager import weights
from sleepstream.stager.weights import ModelFiles
from sleepstream_training.evaluation import behind, hypnograms
from sleepstream_training.evaluation.methods import Markov, Method, baselines, each, of_model
from sleepstream_training.evaluation.tables import Table
from sleepstream_training.nights import Night, Split, split, subjects_by_dataset
from sleepstream_training.runs import default_work

ALONE = "encoder alone"

LANGUAGE_MODEL = "gpt-language"
"""The decoder's own beginnings: a better reader of scored hypnograms, and of nothing else."""

BESIDE_BEHIND = ("hmm", "gpt-fusion")
"""Who stands beside a decoder behind an encoder, where nobody names others."""

Say = Callable[[str], None]


def beside_on_hypnograms(name: str) -> list[str]:
    """Return who stands beside a decoder on hypnograms, where nobody names others."""
    shipped = {model.name for model in weights.available()}
    return [LANGUAGE_MODEL] if LANGUAGE_MODEL in shipped - {name} else []


def trained_on(model: ModelFiles) -> Mapping[str, Sequence[str]] | None:
    """Return whom a model has learned from, by database; None where its description is silent."""
    found: Mapping[str, Sequence[str]] | None = model.description.get("trained_on")
    return trained_on(model.base) if found is None and model.base else found


def unseen(
    models: Sequence[ModelFiles], nights: Sequence[Night], *, everyone: bool, say: Say
) -> Split:
    """Part nights into those of subjects that any of these models has learned from, and the others.

    Parameters
    ----------
    models : sequence of ModelFiles
        Who is judged; the last one first of all.
    nights : sequence of Night
        All there are.
    everyone : bool
        Judge on every night, known or not.
    say : callable
        Told, in a sentence, what is left out.

    Raises
    ------
    RecordingError
        No night is left.
    """
    name = models[-1].name
    for model in models:
        if trained_on(model) is None:
            say(f"{model.name} does not say whom it has learned from; it may know these nights")
    known = {id(n) for m in models for n in split(nights, trained_on(m) or {}).known}
    parts = Split(
        [night for night in nights if id(night) in known],
        [night for night in nights if id(night) not in known],
    )
    if everyone:
        say(f"{len(parts.known)} of {len(nights)} nights are of subjects that {name} knows")
        return Split(parts.known, list(nights))
    if not parts.unseen:
        raise RecordingError(
            f"nights of subjects that {name} has not learned from",
            f"none among {len(nights)}",
            "name other nights, or say --all and mind what the figures then mean",
        )
    n_subjects = sum(map(len, subjects_by_dataset(parts.unseen).values()))
    say(
        f"{len(parts.unseen)} nights of {n_subjects} subjects that {name} has not learned "
        f"from; {len(parts.known)} others are left out"
    )
    return parts


def on_hypnograms(
    models: Sequence[ModelFiles],
    nights: Split,
    training: Sequence[Night],
    *,
    say: Say,
    on_night: Callable[[], None],
) -> list[Table]:
    """Judge decoders on scored hypnograms, beside baselines.

    Parameters
    ----------
    models : sequence of ModelFiles
        Decoders; the last one is judged, the others stand beside it.
    nights : Split
        From `unseen`.
    training : sequence of Night
        What baselines are fitted on; where empty, the nights that the model knows.
    say, on_night : callable
        Told what is done, and after each night.
    """
    people = {(night.dataset, night.subject) for night in nights.unseen}
    fitting = [n for n in training or nights.known if (n.dataset, n.subject) not in people]
    if fitting:
        say(f"baselines are fitted on {len(fitting)} nights of other subjects")
    else:
        say("no training nights (--train): Markov as it ships, and no table of run lengths")
    methods = baselines(fitting) | {model.name: of_model(model) for model in models}
    return hypnograms.tables(nights.unseen, methods, models[-1].name, on_night)


def behind_features(
    models: Sequence[ModelFiles],
    features: Path,
    recordings: Sequence[Night] = (),
    *,
    say: Say,
    on_night: Callable[[], None],
) -> list[Table]:
    """Judge decoders behind an encoder that sees spectral features only.

    Parameters
    ----------
    models : sequence of ModelFiles
        Decoders; the last one is judged, the others stand beside it.
    features : Path
        ``.npz`` as `decoder.data.read_features` takes it.
    recordings : sequence of Night, optional
        Whole recordings, of which those of unknown subjects that begin with hours of wake are
        judged too.
    say, on_night : callable
        Told what is done, and after each night.

    Raises
    ------
    RecordingError
        No such file, or no subject in it that the decoders have not learned from.
    """
    nights = _behind(models, features, say)
    methods: dict[str, Method] = {ALONE: each(Markov())}
    methods |= {model.name: of_model(model) for model in models}
    judged = models[-1].name
    known = {id(n) for m in models for n in split(recordings, trained_on(m) or {}).known}
    others = [night for night in recordings if id(night) not in known]
    return [
        *behind.tables(nights, methods, judged, on_night),
        *behind.after_long_wake(others, nights, {key: methods[key] for key in (ALONE, judged)}),
    ]


def causality(models: Sequence[ModelFiles], features: Path, *, say: Say) -> Table:
    """Judge a decoder that sees the future and one that does not, behind the same encoder.

    Parameters
    ----------
    models : sequence of ModelFiles
        The former, then the latter.
    features, say
        As for `behind_features`, which also says what is raised.
    """
    nights = _behind(models, features, say)
    return behind.causality(nights, {model.name: of_model(model) for model in models})


def _behind(models: Sequence[ModelFiles], features: Path, say: Say) -> list[Night]:
    """Return nights of people that no model has learned from, staged by an encoder of others."""
    from sleepstream_training.decoder import data  # noqa: PLC0415 - needs the extra `train`

    read = data.read_features(features)
    learned = {
        subject
        for model in models
        for dataset, subjects in (trained_on(model) or {}).items()
        for subject in subjects
        if dataset.startswith("sleep-edf")
    }
    say("staging with a features-only encoder; the first time takes a minute or more")
    settled = [data.sha256(features), sorted(learned)]
    digest = hashlib.sha256(json.dumps(settled).encode()).hexdigest()[:10]
    kept = default_work() / "cache" / f"features-only-{digest}.npz"
    nights = data.behind(read, learned, kept) if learned else data.encoded(read, (), kept)
    n_subjects = len({night.subject for night in nights})
    say(f"{len(nights)} nights of {n_subjects} subjects that no decoder has learned from")
    return nights
