from pathlib import Path

import pytest

from sleepstream.lsl_quiet import QUIET, quietened, user_config


def test_without_a_configuration_the_log_is_quiet() -> None:
    assert quietened("") == QUIET


def test_the_rest_of_the_users_own_configuration_is_kept() -> None:
    own = "[lab]\nKnownPeers = {10.0.0.7}\n"
    assert quietened(own) == own + QUIET


@pytest.mark.parametrize(
    "own",
    ["[log]\nlevel = 3\n", "[log]\nfile = lsl.log\n", "what configparser cannot read"],
)
def test_what_the_user_says_of_the_log_stands(own: str) -> None:
    assert quietened(own) == own


def test_the_file_that_is_named_comes_before_the_one_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lsl_api.cfg").write_text("[here]\n", encoding="utf-8")
    Path("named.cfg").write_text("[named]\n", encoding="utf-8")
    monkeypatch.setenv("LSLAPICFG", str(tmp_path / "named.cfg"))
    assert user_config() == "[named]\n"
    monkeypatch.setenv("LSLAPICFG", str(tmp_path / "missing.cfg"))
    assert user_config() == "[here]\n"
