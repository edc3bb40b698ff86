"""Weights on disk: where they are, what they claim, and whether they are what they claim.

A model is a folder ``<name>/`` with ``weights.safetensors``, ``model.toml`` and ``CARD.md``. Models
that ship with sleepstream come from the package `sleepstream_models`; models a user has imported or
trained live in the user's data folder, or anywhere as a path. The weights are data and never code:
safetensors holds arrays and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import sleepstream_models

from sleepstream.errors import ModelError

WEIGHTS_FILE = "weights.safetensors"
DESCRIPTION_FILE = "model.toml"
CARD_FILE = "CARD.md"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model on disk, its description read and its hash checked.

    Attributes
    ----------
    name : str
        Name of its folder.
    folder : Path
        Where it lies.
    kind : str
        ``"encoder"``, ``"decoder"`` or ``"disorder"``.
    arch : str
        Which network the weights belong to.
    sha256 : str
        Hash of the weights file, checked against the description.
    options : dict
        The ``[options]`` table of the description: shapes and settings of the network.
    description : dict
        The whole of ``model.toml``.
    """

    name: str
    folder: Path
    kind: str
    arch: str
    sha256: str
    options: dict[str, Any]
    description: dict[str, Any]

    @property
    def weights(self) -> Path:
        """Path of the weights file."""
        return self.folder / WEIGHTS_FILE

    @property
    def card(self) -> str:
        """Text of the model card, empty when there is none."""
        path = self.folder / CARD_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def user_folder() -> Path:
    """Return the folder of the user's own models (``SLEEPSTREAM_MODELS`` overrides it)."""
    override = os.environ.get("SLEEPSTREAM_MODELS")
    return Path(override) if override else platformdirs.user_data_path("sleepstream") / "models"


def available() -> list[ModelFiles]:
    """Return every model that can be named, the user's own before those that ship.

    A folder that is no model is left out; `find` says what is wrong with it.
    """
    found: dict[str, ModelFiles] = {}
    for root in (user_folder(), sleepstream_models.FOLDER):
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            if (folder / DESCRIPTION_FILE).is_file() and folder.name not in found:
                found[folder.name] = _read(folder)
    return list(found.values())


def find(name: str, kind: str | None = None) -> ModelFiles:
    """Return the model called `name`, or the one in the folder `name`.

    Parameters
    ----------
    name : str
        A name that ``sleepstream models list`` shows, or a path to a model folder.
    kind : str, optional
        What it has to be: ``"encoder"``, ``"decoder"`` or ``"disorder"``.

    Returns
    -------
    ModelFiles
        The model, its hash checked.

    Raises
    ------
    ModelError
        Nothing of that name, a damaged file, or another kind of model.
    """
    folders = [user_folder() / name, sleepstream_models.FOLDER / name, Path(name)]
    for folder in folders:
        if (folder / DESCRIPTION_FILE).is_file():
            model = _read(folder)
            if kind is not None and model.kind != kind:
                raise ModelError(
                    f"a model of kind {kind!r} called {name!r}",
                    f"it is of kind {model.kind!r} ({folder})",
                    f"name another one; `sleepstream models list` shows each {kind}",
                )
            return model
    names = ", ".join(model.name for model in available()) or "none"
    raise ModelError(
        f"a model called {name!r}",
        f"these models: {names}",
        "name one of them, a folder with a model.toml, or import one (`sleepstream models import`)",
    )


def _read(folder: Path) -> ModelFiles:
    path = folder / DESCRIPTION_FILE
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
        kind, arch = description["kind"], description["arch"]
        expected = description["sha256"]
        weights = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ModelError(
            f"a model in {folder} (model.toml with kind, arch, sha256, and {WEIGHTS_FILE})",
            f"{type(error).__name__}: {error}",
            "import or install the model again",
        ) from error
    actual = hashlib.sha256(weights).hexdigest()
    if actual != expected:
        raise ModelError(
            f"weights of {folder.name!r} with sha256 {str(expected)[:12]}… as model.toml says",
            f"sha256 {actual[:12]}…, so the file was changed or damaged",
            "import or install the model again",
        )
    return ModelFiles(
        name=folder.name,
        folder=folder,
        kind=str(kind),
        arch=str(arch),
        sha256=actual,
        options=dict(description.get("options", {})),
        description=description,
    )
