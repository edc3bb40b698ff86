"""A model on disk: written whole, read back, and refused when it is not what it claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sleepstream.errors import ModelError
from sleepstream.stager.weights import ModelFiles, available, find, save_model


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLEEPSTREAM_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def save(folder: Path, value: float = 1.0, **extra: object) -> ModelFiles:
    return save_model(
        folder,
        kind="encoder",
        arch="tinysleepnet",
        tensors={"w": torch.full((2, 3), value)},
        options={"front_end": "none", "logit_bias": [0.5, -1.0], "n": 3, "fine": True},
        card="# A card\n",
        **extra,
    )


def test_a_saved_model_reads_back_as_it_was(own_models: Path) -> None:
    saved = save(own_models / "mine", seed=7, training={"steps": 10, "by": {"whom": 'a "b"\n µ'}})
    found = find("mine")
    assert found == saved
    assert (found.name, found.kind, found.arch) == ("mine", "encoder", "tinysleepnet")
    assert found.options == {
        "front_end": "none",
        "logit_bias": [0.5, -1.0],
        "n": 3,
        "fine": True,
    }
    assert found.description["seed"] == 7
    assert found.description["training"] == {"steps": 10, "by": {"whom": 'a "b"\n µ'}}
    assert found.card == "# A card\n"


def test_keys_that_are_not_bare_words_survive(own_models: Path) -> None:
    saved = save(own_models / "mine", data={"raw_eeg/a b.npz": "hash", "x.y": {"ä": 1}})
    assert saved.description["data"] == {"raw_eeg/a b.npz": "hash", "x.y": {"ä": 1}}


def test_the_same_weights_have_the_same_hash(own_models: Path) -> None:
    assert save(own_models / "a").sha256 == save(own_models / "b").sha256
    assert save(own_models / "a").sha256 != save(own_models / "c", 2.0).sha256


def test_a_model_is_replaced_whole_and_nothing_is_left_beside_it(own_models: Path) -> None:
    save(own_models / "mine", 1.0)
    (own_models / "mine" / "stray").touch()
    second = save(own_models / "mine", 2.0)
    assert find("mine").sha256 == second.sha256
    assert [p.name for p in own_models.iterdir()] == ["mine"]
    assert not (own_models / "mine" / "stray").exists()


def test_a_folder_that_is_no_model_is_not_replaced(own_models: Path) -> None:
    (own_models / "thesis").mkdir(parents=True)
    (own_models / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(ModelError, match="is no model"):
        save(own_models / "thesis")
    assert (own_models / "thesis" / "chapter1.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="to write the model 'mine'"):
        save(tmp_path / "file" / "mine")


def test_changed_weights_are_refused(own_models: Path) -> None:
    weights = save(own_models / "mine").weights
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x00")
    with pytest.raises(ModelError, match="changed or damaged"):
        find("mine")


@pytest.mark.parametrize("text", ["kind = ", "kind = 'encoder'", "\xff"])
def test_a_description_that_cannot_be_read_is_refused(own_models: Path, text: str) -> None:
    folder = save(own_models / "mine").folder
    (folder / "model.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"model\.toml with kind"):
        find("mine")


def test_an_unknown_name_lists_what_there_is(own_models: Path) -> None:
    save(own_models / "mine")
    with pytest.raises(ModelError, match="mine") as error:
        find("yours")
    assert "models import" in error.value.remedy


def test_a_model_of_another_kind_is_refused(own_models: Path) -> None:
    save(own_models / "mine")
    with pytest.raises(ModelError, match="of kind 'encoder'"):
        find("mine", kind="decoder")


def test_a_path_names_a_model(tmp_path: Path) -> None:
    saved = save(tmp_path / "elsewhere" / "mine")
    assert find(str(saved.folder)).sha256 == saved.sha256


def test_the_users_own_model_hides_one_that_ships(own_models: Path) -> None:
    own = save(own_models / "tinysleepnet")
    assert find("tinysleepnet").sha256 == own.sha256
    assert [m.sha256 for m in available() if m.name == "tinysleepnet"] == [own.sha256]


def test_the_fingerprint_tells_models_apart_that_share_their_weights(tmp_path: Path) -> None:
    shipped = find("tinysleepnet")
    cooler = replace(shipped, options={**shipped.options, "temperature": 2.0})
    assert cooler.sha256 == shipped.sha256
    assert cooler.fingerprint != shipped.fingerprint
    assert replace(shipped, folder=tmp_path).fingerprint == shipped.fingerprint
