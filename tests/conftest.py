"""What holds for all tests: those that talk LSL do so one after the other, whoever runs beside."""

from __future__ import annotations

from pathlib import Path

import pytest

LOOPBACK = Path(__file__).parent / "loopback"


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give them to one process (`pytest -n 2 --dist loadgroup`): they share ports and a network."""
    for item in items:
        if LOOPBACK in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("loopback"))
