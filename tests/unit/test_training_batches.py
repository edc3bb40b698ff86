"""What an encoder learns from: split by subject, drawn by stage, scaled as in the serving path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sleepstream_training import recipes
from sleepstream_training.encoder.augment import augment, gain_errors
from sleepstream_training.encoder.fitting import cross_entropy, scores
from sleepstream_training.encoder.prepared import About, Prepared, made_up, prepare
from sleepstream_training.encoder.recipe import Augmentation, Recipe
from sleepstream_training.encoder.scored import ScoredSource, Stretch, split
from sleepstream_training.encoder.sources import HeldOut, scaled, soft_targets

from sleepstream.corpora.catalogue import find
from sleepstream.corpora.scoring import MOVEMENT, UNSCORED
from sleepstream.errors import ChannelError, RecordingError, SettingsError
from sleepstream.messages import EPOCH_N_SAMPLES, Stage
from sleepstream.stager.front_end import RunningGain

MakeEdf = Callable[..., Path]
PLAIN = Augmentation(
    tilt=0,
    gain=0,
    night_start=0,
    low_pass=0,
    high_pass=0,
    noise=0,
    hum=0,
    missing=0,
    flip=False,
)


def numbered(subject: str, codes: list[int], *, by: float = 1.0) -> Prepared:
    """Return a recording whose epochs are full of their own number."""
    codes_array = np.array(codes, dtype=np.int8)
    values = by * np.arange(1, len(codes) + 1, dtype=np.float32)
    signals = np.repeat(values[:, np.newaxis], EPOCH_N_SAMPLES, axis=1)
    amps = np.zeros(len(codes), dtype=np.float32)
    return Prepared(About("made-up", subject, subject, "Fpz-Cz"), signals, codes_array, amps)


def recipe_with(**changes: Any) -> Recipe:
    return recipes.load("encoder", "scored", Recipe, changes)


def test_nobody_is_in_two_parts_and_shares_are_of_subjects() -> None:
    subjects = [f"s{i}" for i in range(20)]
    part_of = split([*subjects, *subjects], 0.1, 0.2, seed=3)
    counts = {part: list(part_of.values()).count(part) for part in set(part_of.values())}
    assert counts == {"train": 14, "validation": 2, "test": 4}
    assert split(reversed(subjects), 0.1, 0.2, seed=3) == part_of
    assert split(subjects, 0.1, 0.2, seed=4) != part_of


@pytest.mark.parametrize(
    ("n", "parts"),
    [
        (1, {"train": 1}),
        (2, {"train": 1, "test": 1}),
        (3, {"train": 1, "validation": 1, "test": 1}),
    ],
)
def test_with_few_subjects_learning_comes_first_and_testing_second(
    n: int, parts: dict[str, int]
) -> None:
    found = list(split([f"s{i}" for i in range(n)], 0.1, 0.2, seed=0).values())
    assert {part: found.count(part) for part in set(found)} == parts


def test_subjects_can_be_held_out_by_name() -> None:
    part_of = split(["a", "b", "c"], ["b"], ["c"], seed=0)
    assert part_of == {"a": "train", "b": "validation", "c": "test"}
    with pytest.raises(SettingsError, match="a subject 'x' for test"):
        split(["a", "b"], 0.0, ["x"], seed=0)
    with pytest.raises(SettingsError, match="every subject is held out"):
        split(["a", "b"], ["a"], ["b"], seed=0)


def test_a_sequence_is_of_neighbours_and_runs_through_what_has_no_stage() -> None:
    codes = [0, 1, UNSCORED, 2, MOVEMENT, 3, 4, 2, 2, 1]
    how = recipe_with(**{"data.validation": 0, "data.test": 0})
    source = ScoredSource([numbered("s", codes, by=0.01)], how, n_epochs=4)
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(200):
        (_, at), *_ = source._draw(rng, 1)
        starts.add(at)
    assert starts == set(range(7))
    changed = recipes.load("encoder", "scored", Recipe, {"data.validation": 0, "data.test": 0})
    quiet = ScoredSource(
        [numbered("s", codes, by=0.01)],
        Recipe(about="", data=changed.data, training=changed.training, augmentation=PLAIN),
        n_epochs=4,
    )
    signals, targets = quiet.batch(np.random.default_rng(1), 50, 0.0)
    assert signals.shape == (50, 4, EPOCH_N_SAMPLES)
    # the offset goes through the augmentation's spectrum untouched but for its high-pass
    assert targets.shape == (50, 4, 5)
    nothing = targets.sum(axis=2) == 0
    assert nothing.any()
    assert np.allclose(targets[~nothing].sum(axis=1), 1)


def test_the_same_generator_draws_the_same_batch() -> None:
    source = ScoredSource([made_up(1, 0.5)], recipe_with(**{"data.test": 0}))
    one, two, other = (source.batch(np.random.default_rng(s), 6, 0.0) for s in (5, 5, 6))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_rare_stages_are_drawn_more_often_and_the_bias_takes_it_back() -> None:
    codes = [0] * 10 + [2] * 90
    for balance, share, bias in ((0.0, 0.1, 0.0), (1.0, 0.5, -np.log(5))):
        how = recipe_with(**{"data.balance": balance, "data.test": 0, "data.validation": 0})
        source = ScoredSource([numbered("s", codes)], how)
        _, targets = source.batch(np.random.default_rng(0), 2000, 0.0)
        assert float((targets.argmax(axis=2) == 0).mean()) == pytest.approx(share, abs=0.03)
        assert source.bias is not None
        assert source.bias[0] == pytest.approx(bias, abs=0.15)


def test_a_long_wake_is_cut_off_after_the_gain_has_seen_it() -> None:
    night = numbered("s", [0] * 30 + [2] * 5 + [0] * 30)
    night.log_amps[:] = np.arange(len(night.codes))
    stretch = Stretch.of(night, margin=10, memory=240)
    assert len(stretch.codes) == 25
    assert stretch.log_gains[0] == pytest.approx(np.mean(np.arange(21)))


def test_epochs_are_scaled_as_the_serving_front_end_scales_them() -> None:
    night = made_up(3, 0.5)
    stretch = Stretch.of(night, margin=1000, memory=240)
    front_end = RunningGain(240)
    served = np.concatenate([front_end.scale(e[np.newaxis], keep=True) for e in night.signals])
    assert np.allclose(scaled(stretch.signals, stretch.log_gains), served, rtol=1e-5, atol=1e-5)


def test_of_a_sequence_the_last_epoch_is_what_is_chosen_by() -> None:
    nights = [numbered(name, [0, 1, 2, 3, 4, UNSCORED, 2, 2]) for name in ("a", "b")]
    how = recipe_with(**{"data.validation": ["b"], "data.test": 0})
    held_out = ScoredSource(nights, how, n_epochs=3).held_out["validation"]
    assert held_out.signals.shape == (5, 3, EPOCH_N_SAMPLES)
    assert (held_out.labels[:, :-1] < 0).all()
    assert held_out.labels[:, -1].tolist() == [2, 3, 4, 2, 2]


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(RecordingError, match="20 scored epochs to learn from"):
        ScoredSource([numbered("s", [0, 1, 2])], recipe_with(), n_epochs=20)


def test_augmentation_can_be_turned_off() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, EPOCH_N_SAMPLES)).astype(np.float32)
    out = augment(x, PLAIN, np.random.default_rng(1))
    # but for the filters that every amplifier has
    assert float(np.corrcoef(x.ravel(), out.ravel())[0, 1]) > 0.99
    own, error = gain_errors(50, PLAIN, np.random.default_rng(1))
    assert not own.any()
    assert not error.any()


def test_what_happens_to_a_sequence_happens_to_all_of_it() -> None:
    x = np.zeros((2, 3, EPOCH_N_SAMPLES), dtype=np.float32)
    x[:, :, 100] = 1.0
    how = Augmentation(noise=0, hum=0, missing=0)
    out = augment(x, how, np.random.default_rng(2))
    assert np.array_equal(out[0, 0], out[0, 2])
    assert not np.array_equal(out[0, 0], out[1, 0])


def test_epochs_without_a_target_do_not_count() -> None:
    logits = torch.randn(2, 3, 5)
    labels = np.array([[0, UNSCORED, 2], [MOVEMENT, 4, 1]])
    targets = torch.from_numpy(soft_targets(labels, 0.0))
    known = torch.from_numpy(labels.reshape(-1) >= 0)
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 5)[known], torch.from_numpy(labels.reshape(-1))[known]
    )
    assert torch.allclose(cross_entropy(logits, targets), expected)
    assert cross_entropy(logits, torch.zeros(2, 3, 5)).item() == 0.0


def test_scores_weigh_the_held_out_sets() -> None:
    class Say(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(x[:, 0, 0].long(), 5).float()

    labels = np.array([[0], [2], [3], [UNSCORED]])
    right = np.repeat(np.maximum(labels, 0)[..., np.newaxis], 3000, axis=2).astype(np.float32)
    sets = {
        "one": HeldOut(right, labels, weight=3.0),
        "two": HeldOut(np.zeros_like(right), labels, weight=1.0, measure="recall"),
    }
    found = scores(Say(), sets, torch.device("cpu"))
    assert found["one_kappa"] == 1.0
    assert found["two_recall"] == pytest.approx(1 / 3, abs=1e-3)
    assert found["score"] == pytest.approx((3 + 1 / 3) / 4, abs=1e-3)


def test_recordings_are_conditioned_once_and_then_mapped(tmp_path: Path, make_edf: MakeEdf) -> None:
    notes = [(0, 60, "Sleep stage W"), (60, 30, "Movement time"), (90, 60, "Sleep stage 2")]
    make_edf("SC4001E0-PSG.edf", 150)
    make_edf("SC4001EC-Hypnogram.edf", 0, labels=(), notes=notes)
    (found,) = find(tmp_path)
    first = prepare(found, "Fpz-Cz", "", tmp_path / "cache")
    kept = list((tmp_path / "cache").iterdir())
    again = prepare(found, "Fpz-Cz", "", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == kept
    assert isinstance(again.signals, np.memmap)
    assert np.array_equal(again.signals, found.read("Fpz-Cz").epochs)
    assert again.codes.tolist() == [Stage.W, Stage.W, MOVEMENT, Stage.N2, Stage.N2]
    assert again.about == first.about
    assert [file.name for file in again.about.files] == [
        "SC4001E0-PSG.edf",
        "SC4001EC-Hypnogram.edf",
    ]
    eog = prepare(found, "EOG horizontal", "", tmp_path / "cache")
    assert not np.array_equal(eog.signals, again.signals)
    with pytest.raises(ChannelError, match=r"SC4001E0-PSG\.edf: "):
        prepare(found, "C4-M1", "", tmp_path / "cache")
