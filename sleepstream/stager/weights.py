"""Weights on disk: where they are, what they claim, and whether they are what they claim.

A model is a folder ``<name>/`` with ``weights.safetensors``, ``model.toml`` and ``CARD.md``. Models
that ship with sleepstream come from the package `sleepstream_models`; models a user has imported or
trained live in the user's data folder, or anywhere as a path. The weights are data and never code:
safetensors holds arrays and nothing else.

Some models have nothing to learn (``none``, ``hmm``) or do something else with what another one has
learned (``gpt-fusion``). They are folders like any other, without a weights file: their description
says ``sha256 = ""``, and names the other model, if there is one, as its ``base``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import sleepstream_models

from sleepstream.errors import ModelError

if TYPE_CHECKING:  # `models list` reads descriptions and need not wait for torch
    from torch import Tensor

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
        ``"encoder"``, ``"decoder"``, ``"disorder"`` or ``"familiarity"``.
    arch : str
        Which network the weights belong to.
    sha256 : str
        Hash of the weights file, checked against the description; empty where there is none.
    options : dict
        The ``[options]`` table of the description: shapes and settings of the network.
    description : dict
        The whole of ``model.toml``.
    base : ModelFiles or None
        The model that it is built upon.
    """

    name: str
    folder: Path
    kind: str
    arch: str
    sha256: str
    options: dict[str, Any]
    description: dict[str, Any]
    base: ModelFiles | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides what the model says: weights, network, options and base."""
        bases = [self.base.fingerprint] if self.base else []
        settings = json.dumps([self.sha256, self.arch, self.options, *bases], sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()

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
    return [_read(folder) for folder in _folders().values()]


def _folders() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in (user_folder(), sleepstream_models.FOLDER):
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if (folder / DESCRIPTION_FILE).is_file():
                found.setdefault(folder.name, folder)
    return found


def find(name: str, kind: str | None = None) -> ModelFiles:
    """Return the model called `name`, or the one in the folder `name`.

    Parameters
    ----------
    name : str
        A name that ``sleepstream models list`` shows, or a path to a model folder.
    kind : str, optional
        What it has to be: ``"encoder"``, ``"decoder"``, ``"disorder"`` or ``"familiarity"``.

    Returns
    -------
    ModelFiles
        The model, its hash checked.

    Raises
    ------
    ModelError
        Nothing of that name, a damaged file, or another kind of model.
    """
    model = _read(_folder(name))
    if kind is not None and model.kind != kind:
        raise ModelError(
            f"a model of kind {kind!r} called {name!r}",
            f"it is of kind {model.kind!r} ({model.folder})",
            f"name another one; `sleepstream models list` shows each {kind}",
        )
    return model


def _folder(name: str) -> Path:
    for folder in (user_folder() / name, sleepstream_models.FOLDER / name, Path(name)):
        if (folder / DESCRIPTION_FILE).is_file():
            return folder
    raise ModelError(
        f"a model called {name!r}",
        f"these models: {', '.join(_folders()) or 'none'}",
        "name one of them, a folder with a model.toml, or import one (`sleepstream models import`)",
    )


def save_model(
    folder: Path,
    *,
    kind: str,
    arch: str,
    tensors: dict[str, Tensor],
    options: dict[str, Any],
    card: str,
    **extra: Any,
) -> ModelFiles:
    """Write a model into `folder`: weights, description and card, all of them or nothing.

    Parameters
    ----------
    folder : Path
        Where it goes; its last part is the model's name. A model that is there is replaced.
    kind, arch : str
        As in `ModelFiles`.
    tensors : dict of Tensor
        The weights by name.
    options : dict
        Shapes and settings of the network and its front end.
    card : str
        The model card, Markdown.
    **extra
        Further keys of ``model.toml``; a dict becomes a table.

    Returns
    -------
    ModelFiles
        The model, read back.

    Raises
    ------
    ModelError
        `folder` holds something that is no model, or cannot be written.
    """
    if folder.exists() and not (folder / DESCRIPTION_FILE).is_file():
        raise ModelError(
            f"a place for the model {folder.name!r}",
            f"{folder} exists and is no model",
            "choose another name, or move it away",
        )
    from safetensors.torch import save  # noqa: PLC0415  (brings torch: see above)

    weights = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    digest = hashlib.sha256(weights).hexdigest()
    description = {"kind": kind, "arch": arch, "sha256": digest, **extra, "options": options}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # beside the target, so that the renames stay within one file system
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(staging / "new", weights, description, card)
            if folder.exists():
                folder.rename(staging / "old")
            (staging / "new").rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"to write the model {folder.name!r} into {folder.parent}",
            f"{type(error).__name__}: {error}",
            "make room or choose a folder that can be written",
        ) from error
    return _read(folder)


def _write(folder: Path, weights: bytes, description: dict[str, Any], card: str) -> None:
    folder.mkdir()
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / DESCRIPTION_FILE).write_text(_toml(description), encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _toml(table: dict[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return `table` as TOML: plain values first, then each dict as a table of its own."""
    values = {key: v for key, v in table.items() if not isinstance(v, dict)}
    # JSON's strings, numbers, booleans and lists of these are TOML's too (but for DEL: escaped)
    lines = [
        f"{_key(key)} = {json.dumps(v, allow_nan=False, ensure_ascii=True)}\n"
        for key, v in values.items()
    ]
    for key, value in table.items():
        if isinstance(value, dict):
            inner = (*path, _key(key))
            lines.append(f"\n[{'.'.join(inner)}]\n{_toml(value, inner)}")
    return "".join(lines)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key)


def _read(folder: Path, *, with_base: bool = True) -> ModelFiles:
    path = folder / DESCRIPTION_FILE
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
        kind, arch = description["kind"], description["arch"]
        expected = description["sha256"]
        actual = (
            hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest() if expected else ""
        )
    except (OSError, ValueError, RecursionError, KeyError) as error:  # tomllib raises all of them
        raise ModelError(
            f"a model in {folder} (model.toml with kind, arch, sha256, and {WEIGHTS_FILE})",
            f"{type(error).__name__}: {error}",
            "import or install the model again",
        ) from error
    if actual != expected:
        raise ModelError(
            f"weights of {folder.name!r} with sha256 {str(expected)[:12]}… as model.toml says",
            f"sha256 {actual[:12]}…, so the file was changed or damaged",
            "import or install the model again",
        )
    base = description.get("base") if with_base else None
    return ModelFiles(
        name=folder.name,
        folder=folder,
        kind=str(kind),
        arch=str(arch),
        sha256=actual,
        options=dict(description.get("options", {})),
        description=description,
        # a base has none of its own, so that no two models can be built upon each other
        base=None if base is None else _read(_folder(str(base)), with_base=False),
    )
