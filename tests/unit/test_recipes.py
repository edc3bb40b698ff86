"""Recipes: typed, refused with the nearest valid key, changed from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from sleepstream_training import recipes
from sleepstream_training.encoder.recipe import MixtureData, Recipe, ScoredData

from sleepstream.commands.train import require_extra
from sleepstream.errors import SettingsError
from sleepstream.stager.encoder import ARCHITECTURES


def test_every_recipe_that_ships_can_be_read() -> None:
    names = recipes.names("encoder")
    assert {"sleep-edf", "scored", "made-up", "shipped-tinysleepnet"} <= set(names)
    for name in names:
        recipe = recipes.load("encoder", name, Recipe)
        assert recipe.model.arch in ARCHITECTURES
        assert recipe.training.steps > 0


def test_the_table_data_is_read_by_its_source() -> None:
    assert isinstance(recipes.load("encoder", "sleep-edf", Recipe).data, ScoredData)
    assert isinstance(recipes.load("encoder", "shipped-tinysleepnet", Recipe).data, MixtureData)


def test_a_change_takes_the_place_of_the_files_value() -> None:
    changes = recipes.parse_changes(
        ["training.steps=12", "data.channels=['C4-M1', 'EOG']", "model.arch=deepsleepnet"]
    )
    recipe = recipes.load("encoder", "scored", Recipe, changes)
    assert isinstance(recipe.data, ScoredData)
    assert recipe.training.steps == 12
    assert recipe.data.channels == ["C4-M1", "EOG"]
    assert recipe.model.arch == "deepsleepnet"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.stepz", "training.steps"),
        ("stepz", "training.steps"),
        ("trainin.steps", "training.steps"),
        ("data.chanels", "data.channels"),
        ("augmentation.tilts", "augmentation.tilt"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"nearest valid key is {nearest}$"):
        recipes.load("encoder", "scored", Recipe, {key: 1})


def test_a_key_of_another_source_is_refused_and_not_proposed() -> None:
    with pytest.raises(SettingsError, match=r"'data\.nights' in scored\.toml.*\n.*data\.unit"):
        recipes.load("encoder", "scored", Recipe, {"data.nights": 3})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.steps": "many"}, r"\$\.training\.steps"),
        ({"training.batch": 0}, r"\$\.training\.batch"),
        ({"training.steps": 0}, "either steps or minutes"),
        ({"training.minutes": 3.0}, "either steps or minutes"),
        ({"data.source": "else"}, r"\$\.data"),
        ({"about.this": 1}, "a table 'about'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        recipes.load("encoder", "scored", Recipe, changes)


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="the nearest one is sleep-edf"):
        recipes.load("encoder", "sleepedf", Recipe)


def test_a_recipe_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('about = "x"\n[data]\nsource = "scored"\n[training]\nminutes = 5.0\n')
    assert recipes.load("encoder", str(file), Recipe).training.minutes == 5.0
    file.write_text("about = \n")
    with pytest.raises(SettingsError, match=r"own\.toml"):
        recipes.load("encoder", str(file), Recipe)


def test_an_assignment_needs_a_key_and_a_value() -> None:
    with pytest.raises(SettingsError, match=r"--set table\.key=value"):
        recipes.parse_changes(["training.steps"])


def test_what_training_needs_is_named_where_it_is_not_installed() -> None:
    require_extra()
    with pytest.raises(SettingsError, match=r"sleepstream\[train\]"):
        require_extra(["sklearn", "no_such_library"])
