"""The decoders by name: from a model folder to a decoder at the start of a night."""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sleepstream.errors import ModelError
from sleepstream.stager import context
from sleepstream.stager.decoder import Decoder, GptDecoder, NoDecoder, SleepGptDecoder
from sleepstream.stager.fusion import FusionDecoder
from sleepstream.stager.gpt import Gpt, GptShape, check_sizes
from sleepstream.stager.hmm import HmmDecoder
from sleepstream.stager.sleepgpt import SleepGpt
from sleepstream.stager.weights import ModelFiles


def load_decoder(model: ModelFiles, device: torch.device) -> Decoder:
    """Build the decoder that a model folder describes.

    Parameters
    ----------
    model : ModelFiles
        A model of kind ``"decoder"``.
    device : torch.device
        Where it runs.

    Returns
    -------
    Decoder
        At the start of a night.

    Raises
    ------
    ModelError
        An unknown architecture, or weights or options that do not fit it.
    """
    build = _BUILDERS.get(model.arch)
    if model.kind != "decoder" or build is None:
        raise ModelError(
            f"a decoder ({', '.join(_BUILDERS)}) in {model.folder}",
            f"a model of kind {model.kind!r}, arch {model.arch!r}",
            "name another decoder; `sleepstream models list` shows them",
        )
    try:
        return build(model, device)
    except _UNFIT as error:
        raise ModelError(
            f"weights and options of a {model.arch!r} decoder in {model.folder}",
            str(error).splitlines()[0],
            "import or install the model again",
        ) from error


_UNFIT = (
    OSError,
    SafetensorError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
)
"""What is raised on options and weights that do not belong together."""


def _none(_model: ModelFiles, _device: torch.device) -> Decoder:
    return NoDecoder()


def _hmm(model: ModelFiles, _device: torch.device) -> Decoder:
    return HmmDecoder(**model.options, name=model.name)


def _gpt(model: ModelFiles, device: torch.device) -> Decoder:
    gpt = Gpt(GptShape(n_inputs=context.N_INPUTS, **model.options))
    gpt.load_state_dict(load_file(model.weights))
    return GptDecoder(gpt, device, model.name, model.fingerprint)


def _fusion(model: ModelFiles, device: torch.device) -> Decoder:
    if model.base is None:
        raise KeyError("base: the name of the decoder that serves as the language model")
    language_model = load_decoder(model.base, device)
    return FusionDecoder(language_model, **model.options, name=model.name, sha256=model.fingerprint)


def _sleepgpt(model: ModelFiles, device: torch.device) -> Decoder:
    options = dict(model.options)
    weight = float(options.pop("weight"))
    check_sizes(**options)
    network = SleepGpt(**options)
    network.load_state_dict(load_file(model.weights))
    return SleepGptDecoder(network, weight, device, model.name, model.fingerprint)


_BUILDERS: dict[str, Callable[[ModelFiles, torch.device], Decoder]] = {
    "gpt": _gpt,
    "gpt-fusion": _fusion,
    "sleepgpt": _sleepgpt,
    "hmm": _hmm,
    "none": _none,
}
