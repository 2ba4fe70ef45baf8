"""Fixtures that every suite shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import ports

LONG = "NOVATE_LONG"
"""Set by ``make test-long``: without it, tests marked `long` are skipped."""

WORKERS_MAX = 8

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


@pytest.fixture(scope="session", autouse=True)
def own_ports(worker_id: str) -> Iterator[None]:
    """Ports of its own for each worker: no other test may take those of a validator that is stopped for a moment."""
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else WORKERS_MAX - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "PORTS", ports.PORTS[number % WORKERS_MAX :: WORKERS_MAX])
        yield


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """The path of a file of market data or test vectors; skips the test where the folder is absent."""

    def locate(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"shared data is absent: {name}")
        return path

    return locate
