"""Fixtures that every suite shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LONG = "NOVATE_LONG"
"""Set by ``make test-long``: without it, tests marked `long` are skipped."""

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless it was asked for."""
    if os.environ.get(LONG):
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test-long"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under ``--dist loadfile``, networks apart; any other way of sharing out is xdist's own."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.schedule import NetworksApart

    return NetworksApart(config, log)


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """The path of a file of market data or test vectors; skips the test where the folder is absent."""

    def locate(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"shared data is absent: {name}")
        return path

    return locate
