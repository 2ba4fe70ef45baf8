"""Lists that come in pages, put together by a client."""

from __future__ import annotations

from typing import Any

import pytest

from cli.client import Client, all_members, whole_settlement
from contracts import queries
from genesis.errors import Rejected
from tests.contracts.world import EXPIRY_UNIX_MS, World, list_series, set_up, trade_of


class Paged(Client):
    """A client of a chain whose pages hold one entry each."""

    def __init__(self, world: World, *, stuck: bool = False) -> None:
        self._world = world
        self._stuck = stuck

    def get(self, path: str, wait_ms: int = 0) -> Any:
        """The answer of the state."""
        path, _, after = path.partition("?after=")
        after = "" if self._stuck else after.replace("%2F", "/")
        if path == "/v1/members":
            return queries.members(self._world.state, after, 1)
        return queries.settlement(self._world.state, "BTC_USD", EXPIRY_UNIX_MS, after, 1)


@pytest.fixture
def world() -> World:
    """Two series with two positions each, settled."""
    made = set_up(World(), members=2)
    for name in ("BTC-A-63000-C", "BTC-A-64000-C"):
        list_series(made, name)
        made.send("M0 M1", trade_of(name, "M0", "M1", 2))
    made.oracles_say(6_400_000, made.now_unix_ms)
    made.expire(3_605_000)
    return made


def test_pages_together_say_what_the_whole_says(world: World) -> None:
    """A page ends in the middle of a series; who is paid must not depend on where."""
    whole = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    del whole["next"]
    assert len(whole["series"]) == 2
    assert whole_settlement(Paged(world), "/v1/settlements") == whole
    assert all_members(Paged(world)) == queries.members(world.state)["members"]


def test_pages_that_do_not_go_forward_are_refused(world: World) -> None:
    """A lying validator must not keep a client reading for ever."""
    with pytest.raises(Rejected, match="bad_answer"):
        all_members(Paged(world, stuck=True))
