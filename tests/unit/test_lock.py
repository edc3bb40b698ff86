"""One sleepstream per bed, and none after a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sleepstream.errors import BedTakenError, StoreError
from sleepstream.store.lock import bed_lock, is_staged

HOLDER = """
import sys
from pathlib import Path
from sleepstream.store.lock import bed_lock
with bed_lock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "nights.sqlite"


@contextmanager
def held(store: Path, bed: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(store), bed]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_a_bed_that_is_staged_is_refused_with_who_and_since_when(store: Path) -> None:
    with held(store, "left") as holder:
        assert is_staged(store, "left")
        with (
            pytest.raises(BedTakenError, match=r"since 20\d\d-") as caught,
            bed_lock(store, "left"),
        ):
            pass
    assert f"process {holder.pid}," in caught.value.found
    assert caught.value.exit_code == 7


def test_two_beds_are_staged_at_once(store: Path) -> None:
    with held(store, "left"), bed_lock(store, "right"):
        assert is_staged(store, "right")


def test_two_records_know_nothing_of_each_other(store: Path, tmp_path: Path) -> None:
    with held(store, "left"), bed_lock(tmp_path / "other.sqlite", "left"):
        pass


def test_a_crash_leaves_no_lock(store: Path) -> None:
    with held(store, "left") as holder:
        holder.kill()
        holder.wait()
        assert not is_staged(store, "left")
        with bed_lock(store, "left"):
            pass


def test_a_lock_is_given_back(store: Path) -> None:
    for _ in range(2):
        with bed_lock(store, "left"):
            assert is_staged(store, "left")
        assert not is_staged(store, "left")


def test_who_only_asks_makes_no_file(store: Path) -> None:
    assert not is_staged(store, "left")
    assert list(store.parent.iterdir()) == []


@pytest.mark.parametrize("bed", ["../left", "a/b", "a\0", "", "x" * 300])
def test_what_is_no_name_of_a_bed_is_not_staged(store: Path, bed: str) -> None:
    assert not is_staged(store, bed)


def test_a_holder_without_a_name_is_refused_too(store: Path) -> None:
    with bed_lock(store, "left"):
        (path,) = store.parent.glob("*.lock")
        os.truncate(path, 0)
        with pytest.raises(BedTakenError, match="another process"), bed_lock(store, "left"):
            pass


def test_a_lock_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--store"), bed_lock(tmp_path / "no" / "nights", "left"):
        pass
