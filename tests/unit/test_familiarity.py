"""Whether a signal looks like sleep EEG, and what is made of it where it does not."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sleepstream_replay.synthetic import synthetic_night
from sleepstream_training.encoder.data import high_passed, load_recording
from sleepstream_training.strangers import STRANGERS, stranger

from sleepstream.errors import ModelError
from sleepstream.messages import Epoch, Quality
from sleepstream.stager import weights
from sleepstream.stager.familiarity import (
    DOUBT,
    UNFAMILIAR,
    AllFamiliar,
    Familiarity,
    change,
    load_judge,
    ramp,
    soften,
)
from sleepstream.stager.spectral import describe
from sleepstream.stager.stager import Stager

N_EPOCHS = 30
CPU = torch.device("cpu")
RAW = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw_eeg"


def described(microvolts: np.ndarray) -> np.ndarray:
    epochs = np.asarray(microvolts, dtype=np.float32).reshape(-1, 1, 3000)
    return np.stack([describe(epoch) for epoch in epochs])


@pytest.fixture(scope="module")
def night() -> np.ndarray:
    made = synthetic_night(1.0, 70)
    samples = np.asarray(made.read(0, made.n_samples)[0] * 1e6, dtype=np.float32)
    return described(high_passed(samples.reshape(-1, 3000)))


@pytest.fixture
def judge() -> Familiarity:
    return Familiarity.load(weights.find("sleep-eeg", "familiarity"))


def signal(name: str) -> np.ndarray:
    return described(stranger(name, 30.0 * N_EPOCHS, 100.0, np.random.default_rng(3)))


def test_a_made_up_night_is_believed(judge: Familiarity, night: np.ndarray) -> None:
    assert min(judge.step(row).familiarity for row in night) > 0.9


@pytest.mark.parametrize("gain", [0.1, 0.3, 3.0, 10.0])
def test_the_gain_of_an_amplifier_is_no_reason(
    judge: Familiarity, night: np.ndarray, gain: float
) -> None:
    louder = night.copy()
    louder[:, :6] += 2 * np.log(gain)
    plain = [judge.step(row).familiarity for row in night[:40]]
    judge.reset()
    assert [judge.step(row).familiarity for row in louder[:40]] == pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_a_wrong_unit_is(judge: Familiarity, night: np.ndarray, factor: float) -> None:
    row = night[5].copy()
    row[:6] += 2 * np.log(factor)
    size = "small" if factor < 1 else "large"
    assert judge.step(row).reason == f"{DOUBT}: far too {size}"


@pytest.mark.parametrize("name", [name for name in STRANGERS if name != "mouse"])
def test_no_stranger_is_believed_for_long(judge: Familiarity, name: str) -> None:
    verdicts = [judge.step(row) for row in signal(name)]
    assert verdicts[-1].familiarity < UNFAMILIAR
    assert verdicts[-1].reason.startswith(DOUBT)


def test_one_movement_costs_nothing_and_a_night_is_believed_again(
    judge: Familiarity, night: np.ndarray
) -> None:
    hum = signal("mains 50 Hz")
    for row in night[:60]:
        judge.step(row)
    assert judge.step(hum[0]).familiarity == 1.0
    assert [judge.step(row).familiarity for row in hum][-1] == 0.0
    assert [judge.step(row).familiarity for row in night[60:80]][-1] == 1.0


def test_noise_changes_as_chance_has_it() -> None:
    rows = signal("pink noise *")
    changes = [change(before, row) for before, row in pairwise(rows)]
    assert np.mean(changes) == pytest.approx(1.0, abs=0.3)
    assert change(rows[0], rows[0]) == 0.0


def test_a_ramp_falls_in_either_direction() -> None:
    assert [ramp(x, (2.0, 4.0)) for x in (1, 2, 3, 4, 5)] == [1, 1, 0.5, 0, 0]
    assert [ramp(x, (4.0, 2.0)) for x in (1, 2, 3, 4, 5)] == [0, 0, 0.5, 1, 1]


def test_softened_probabilities_keep_their_order() -> None:
    probs = np.array([0.5, 0.3, 0.1, 0.06, 0.04], dtype=np.float32)
    assert soften(probs, 1.0) is probs
    for familiarity in (0.0, 0.3, 0.9):
        softer = soften(probs, familiarity)
        assert softer.sum() == pytest.approx(1.0)
        assert (np.diff(softer) < 0).all()
        assert softer.max() < probs.max()
    assert soften(probs, 0.0).max() < 0.21


def test_nobody_is_asked_if_none_is_named() -> None:
    judge = load_judge("none")
    assert isinstance(judge, AllFamiliar)
    assert judge.step(signal("flat")[0]).familiarity == 1.0
    with pytest.raises(ModelError, match="kind 'familiarity'"):
        load_judge("gpt")


@pytest.mark.parametrize(
    "changes",
    [
        {"odd": (1.0, 1.0)},
        {"steady": (float("nan"), 1.0)},
        {"most_surprise": float("inf")},
        {"usual_change": "much"},
        {"unheard_of": 1},
    ],
)
def test_limits_that_say_nothing_are_refused(changes: dict[str, object]) -> None:
    model = weights.find("sleep-eeg", "familiarity")
    with pytest.raises(ModelError, match="judge of familiarity"):
        Familiarity.load(replace(model, options=model.options | changes))
    with pytest.raises(ModelError, match="judge of familiarity"):
        Familiarity.load(replace(model, arch="gpt"))
    assert msgspec.to_builtins(Familiarity.load(model).limits).keys() == model.options.keys()


def staged(data: np.ndarray, judge: str, quality: Quality) -> list[dict[str, object]]:
    names = {"encoder": "tinysleepnet", "decoder": "hmm", "disorder": "apnoea"}
    bed = Stager.load(**names, device=CPU, bed="b", familiarity=judge)
    rows = np.asarray(data, dtype=np.float32).reshape(-1, 1, 3000)
    said = []
    for i, row in enumerate(rows):
        epoch = Epoch(i, 30.0 * i, 30.0 * i + 30, row, 1.0, quality)
        once = bed.step(epoch)
        said.append(once)
    return said


def test_the_stager_says_its_doubts() -> None:
    heart = stranger("heart at 90", 300.0, 100.0, np.random.default_rng(0))
    quality = Quality(0.9, ("muscle for 3 s",))
    judged, alone = (staged(heart, name, quality) for name in ("sleep-eeg", "none"))
    assert judged[-1].quality.reasons == (
        f"{DOUBT}: no stage has such spectra",
        "muscle for 3 s",
    )
    assert judged[-1].quality.score == 0.0
    assert judged[-1].quality.seconds == quality.seconds
    assert judged[-1].confidence < 0.25
    assert judged[-1].stage is not None
    assert judged[-1].encoder_probs.max() < 0.25
    assert alone[-1].quality == quality
    assert judged[-1].model != alone[-1].model
    assert all(estimate.probs.sum() == pytest.approx(1.0, abs=1e-5) for estimate in judged)


def test_a_doubt_on_record_is_said_once_when_the_night_is_staged_again() -> None:
    heart = stranger("heart at 90", 300.0, 100.0, np.random.default_rng(0))
    first = staged(heart, "sleep-eeg", Quality(0.9))
    again = staged(heart, "sleep-eeg", first[-1].quality)
    assert again[-1].as_json() | {"latency_ms": 0} == first[-1].as_json() | {"latency_ms": 0}


@pytest.mark.data
@pytest.mark.skipif(not RAW.is_dir(), reason=f"no recordings at {RAW}")
@pytest.mark.parametrize("name", ["ucddb018", "prerau_segment", "ucddb015", "ucddb026"])
def test_a_real_night_is_believed(judge: Familiarity, name: str) -> None:
    epochs = np.concatenate(load_recording(RAW / f"{name}.npz").runs)
    on_a_head = [row for row in described(epochs) if row[2:4].mean() > 5]
    found = np.array([judge.step(row).familiarity for row in on_a_head])
    assert (found < UNFAMILIAR).mean() < 0.01
    assert (found == 1.0).mean() > 0.98
