"""Keep liblsl from writing over the screen: called before the first stream, at either end.

liblsl writes to stderr when it starts and whenever a sender goes away, straight from C++, where
neither `logging` nor the dashboard can catch it. What enters is the user's own LSL configuration,
if there is one; what leaves is the same configuration with ``[log] level`` set to fatal errors. A
user who says something about logging keeps what was said.

References
----------
LSL configuration files, https://labstreaminglayer.readthedocs.io/info/lslapicfg.html
"""

from __future__ import annotations

import configparser
import contextlib
import os
from pathlib import Path

import pylsl

QUIET = "\n[log]\nlevel = -3\n"
"""liblsl's verbosities are loguru's: 0 is INFO, -1 WARNING, -2 ERROR, -3 FATAL. A sender that goes
away is an ERROR to liblsl; to us it is an event, which we tell in our own words."""


def quiet_liblsl() -> None:
    """Make liblsl write fatal errors only, unless the user's own configuration speaks of its log.

    Call it before the first stream is looked for or opened: liblsl reads its configuration once.
    """
    # A liblsl before 1.17.7 has no such call; its lines are a blemish and no reason to stop.
    with contextlib.suppress(NotImplementedError):
        # Given content replaces every configuration file, so the user's file has to be in it.
        pylsl.set_config_content(quietened(user_config()))


def quietened(config: str) -> str:
    """Return an LSL configuration with its log quiet, where it says nothing of a log.

    Parameters
    ----------
    config : str
        The text of an ``lsl_api.cfg``, or nothing.

    Returns
    -------
    str
        The configuration for liblsl.
    """
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string(config)
    except configparser.Error:
        return config  # liblsl may read it in another way than we do: leave it to liblsl
    spoken_for = parser.has_option("log", "level") or parser.has_option("log", "file")
    return config if spoken_for else config + QUIET


def user_config() -> str:
    """Return the text of the configuration file that liblsl would read, empty if there is none.

    The places and their order are liblsl's: ``$LSLAPICFG``, the working folder, the home folder,
    the machine.
    """
    named = os.environ.get("LSLAPICFG")
    places = [
        *([Path(named)] if named else []),
        Path("lsl_api.cfg"),
        Path("~/lsl_api/lsl_api.cfg").expanduser(),
        Path("/etc/lsl_api/lsl_api.cfg"),
    ]
    for place in places:
        with contextlib.suppress(OSError):
            return place.read_text(encoding="utf-8", errors="replace")
    return ""
