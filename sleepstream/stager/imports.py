"""Published checkpoints, converted into our format.

In comes a checkpoint file of the SleepGPT authors (a TinySleepNet or a GPT), out goes a model
folder that the stager can load. A checkpoint is recognised by its tensors, not by its name, and
it is read as data: a pickle that carries code is refused.

References
----------
SleepGPT, https://github.com/yuty2009/sleepgpt (Apache-2.0).
"""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from sleepstream.errors import ModelError
from sleepstream.stager.networks import TinySleepNet
from sleepstream.stager.sleepgpt import convert_sleepgpt
from sleepstream.stager.weights import ModelFiles, save_model

TINYSLEEPNET_KEY: Final = "conv1.0.0.weight"
TINYSLEEPNET_SHAPE: Final = (128, 1, 50, 1)
GPT_KEY: Final = "transformer.wte.weight"

_REMEDY: Final = (
    "import one of the published SleepGPT checkpoints: tinysleepnet_fold*.pth.tar or gpt_*.pth.tar"
)


_UNREADABLE: Final = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
"""What the unpickler raises, by chance, on a file that is no pickle."""


def import_checkpoint(path: Path, name: str | None, to: Path) -> ModelFiles:
    """Convert the published checkpoint `path` and save it as the model ``to/name``.

    Parameters
    ----------
    path : Path
        A SleepGPT checkpoint (``*.pth.tar``).
    name : str or None
        What to call the model; None takes the name of the file.
    to : Path
        Folder of models, as `sleepstream.stager.weights.user_folder`.

    Returns
    -------
    ModelFiles
        The model as saved.

    Raises
    ------
    ModelError
        No such file, not a checkpoint, one that carries code, or of another network.
    """
    name = path.name.split(".")[0] if name is None else name
    if Path(name).name != name or name.startswith(".") or not (name and name.isprintable()):
        raise ModelError(
            "a name for the model: one word without / and not starting with a dot",
            repr(name),
            "choose another name",
        )
    state = read_state_dict(path)
    if TINYSLEEPNET_KEY in state:
        tensors, options = convert_tinysleepnet(path, state)
        kind, arch = "encoder", "tinysleepnet"
    elif GPT_KEY in state:
        tensors, options = convert_sleepgpt(state)
        kind, arch = "decoder", "sleepgpt"
    else:
        found = ", ".join(list(state)[:3])
        raise _unknown(path, f"tensors of another network ({found}, …)")
    source = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "origin": "https://github.com/yuty2009/sleepgpt",
        "license": "Apache-2.0",
    }
    return save_model(
        to / name,
        kind=kind,
        arch=arch,
        tensors=tensors,
        options=options,
        card=_card(name, arch, source),
        source=source,
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, as data only.

    Raises
    ------
    ModelError
        No such file, or not a dict of tensors.
    """
    try:
        with warnings.catch_warnings():
            # it wonders about pickle versions; what matters of that is said below
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise _unknown(path, "no such file") from error
    except pickle.UnpicklingError as error:
        raise _unknown(path, "not a file of tensors, or a pickle that carries code") from error
    except _UNREADABLE as error:
        raise _unknown(path, f"no file of tensors ({type(error).__name__})") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise _unknown(path, f"a {type(content).__name__} and no tensors by name")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise _unknown(path, "a dict of something else than tensors by name")
    return dict(content)


def convert_tinysleepnet(
    path: Path, state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Rename the tensors of a published TinySleepNet and drop the kernels' second dimension.

    Raises
    ------
    ModelError
        Its shapes are not the published ones.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        match = re.fullmatch(r"conv1\.(\d)\.([01])\.(\w+)", key)
        if match:
            layer, part, leaf = match.groups()
            key = f"features.{layer}.{'norm' if int(part) else 'conv'}.{leaf}"  # noqa: PLW2901
        tensors[key] = value.squeeze(-1) if value.ndim == 4 else value
    expected = {
        key: value.shape
        for key, value in TinySleepNet().state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    if {key: value.shape for key, value in tensors.items()} != expected:
        raise _unknown(path, "a TinySleepNet of other shapes than the published ones")
    # the published training fed microvolts as they are
    return tensors, {"front_end": "none"}


def _unknown(path: Path, found: str) -> ModelError:
    return ModelError(f"a published SleepGPT checkpoint in {path}", found, _REMEDY)


def _card(name: str, arch: str, source: dict[str, str]) -> str:
    return f"""# {name}

A published {arch}, imported by `sleepstream models import`. The weights are the authors', not
ours; only the names of the tensors were changed.

- from: {source["origin"]}, file `{source["file"]}` (sha256 {source["sha256"]})
- licence: {source["license"]}
- trained by its authors; see their paper for data and accuracy

For research; not a medical device.
"""
