"""Where the networks run: the choice of device, and the settings that make it repeatable.

In comes the word from the settings (``auto``, ``cpu`` or ``cuda``), out goes a `torch.device` and
one sentence for the user. Nothing here happens at import.
"""

from __future__ import annotations

import os

import torch

from sleepstream.errors import SettingsError


def choose(device: str) -> tuple[torch.device, str]:
    """Choose the device that the networks run on.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    device : torch.device
        The device.
    reason : str
        One sentence that says why, for the log and the dashboard.

    Raises
    ------
    SettingsError
        The word is none of the three, or ``cuda`` is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        if has_cuda:
            return torch.device("cuda"), (
                f"cuda: {torch.cuda.get_device_name()} is available; "
                "for one bed the CPU would do as well (an epoch takes it a few milliseconds)"
            )
        return torch.device("cpu"), (
            "cpu: no CUDA device is available; "
            "for one bed it is fast enough (an epoch takes a few milliseconds)"
        )
    if device == "cpu":
        return torch.device("cpu"), "cpu: asked for"
    if device == "cuda":
        if not has_cuda:
            raise SettingsError(
                "a CUDA device (device = cuda)",
                f"none that torch {torch.__version__} can use",
                "use device = auto or cpu, or install a driver and a torch build with CUDA",
            )
        return torch.device("cuda"), f"cuda: asked for, {torch.cuda.get_device_name()}"
    raise SettingsError(
        "a device: auto, cpu or cuda", repr(device), "use device = auto unless you know better"
    )


def single_thread() -> None:
    """Make torch repeatable and steady: one thread, deterministic kernels.

    The networks are small. More threads are slower on them and far less steady, and a sum that is
    split over threads may round differently from one run to the next. Call it once where a run
    starts.
    """
    torch.set_num_threads(1)
    # read when cuBLAS starts: without a workspace of its own it may sum in another order each time
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
