"""Places for the unproved, bars for offenders, pauses between attempts: on Trio's mock clock."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio
import trio.testing

from node.admission import Backoff, Doorway, Standing, origin_of


@pytest.mark.trio
async def test_newcomer_takes_the_place_that_was_held_longest(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever fills every place and stays silent must keep nobody out."""
    doorway, put_out = Doorway(2), list[int]()

    async def wait_inside(number: int, task_status: trio.TaskStatus[None]) -> None:
        with doorway.enter(1_000) as scope:
            task_status.started()
            await trio.Event().wait()
        if scope.cancelled_caught:
            put_out.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            await nursery.start(wait_inside, number)
        await trio.testing.wait_all_tasks_blocked()
        assert put_out == [0, 1]
    assert sorted(put_out) == [0, 1, 2, 3]


@pytest.mark.trio
async def test_place_is_free_again_however_it_was_left(autojump_clock: trio.testing.MockClock) -> None:
    """A place that stayed taken would put out honest newcomers one by one, until nobody gets in."""
    doorway = Doorway(1)
    with doorway.enter(1_000):
        pass
    with doorway.enter(1) as late:
        await trio.sleep(2)
    with pytest.raises(KeyError), doorway.enter(1_000):
        raise KeyError
    with doorway.enter(1_000) as scope:
        await trio.lowlevel.checkpoint()
    assert (late.cancelled_caught, scope.cancelled_caught) == (True, False)
    assert not doorway._waiting


def test_bars_double_up_to_a_cap_and_are_forgiven() -> None:
    """A flood is kept away ever longer, a repaired validator comes back by itself."""
    standing, now_s, bars = Standing(1.0, 30.0), 100.0, list[float]()
    assert standing.barred_s(now_s) == 0
    for _ in range(7):
        standing.offend(now_s)
        bars.append(standing.barred_s(now_s))
        now_s += bars[-1]
        assert standing.barred_s(now_s) == 0
    assert bars == [1, 2, 4, 8, 16, 30, 30]
    standing.offend(now_s + 301)
    assert standing.barred_s(now_s + 301) == 1


def test_offence_never_shortens_a_bar() -> None:
    """Two lanes may report at once."""
    standing = Standing(1.0, 30.0)
    standing.offend(0.0)
    standing.offend(0.0)
    assert standing.barred_s(0.0) == 2


def test_pauses_grow_by_half_from_the_shortest_to_the_cap_and_start_anew() -> None:
    """Nodes started together meet at once; a node that is down costs its peers little."""
    backoff = Backoff(0.05, 2.0, lambda: 1.0)
    pauses = [backoff.next_s() for _ in range(12)]
    assert pauses[:3] == pytest.approx([0.05, 0.075, 0.1125])
    assert pauses[-1] == 2.0
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.05)


def test_jitter_spreads_a_pause_over_its_upper_half() -> None:
    """Peers of a node that returns must not all dial in the same moment."""
    assert Backoff(1.0, 2.0, lambda: 0.0).next_s() == 0.5
    assert Backoff(1.0, 2.0, lambda: 0.5).next_s() == 0.75


@pytest.mark.trio
async def test_a_crowd_of_one_origin_puts_out_only_its_own() -> None:
    """Row 27: however fast strangers come, who comes from elsewhere keeps his place while he shakes hands."""
    doorway = Doorway(4)
    with doorway.enter(60, "validator") as honest, ExitStack() as crowd:
        scopes = [crowd.enter_context(doorway.enter(60, "crowd")) for _ in range(100)]
        assert [each.cancel_called for each in scopes] == [True] * 97 + [False] * 3
        assert not honest.cancel_called


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "192.0.2.1", False),
    ],
)
def test_an_origin_is_what_one_subscriber_has(one: str, other: str, same: bool) -> None:
    """Whoever has a network of 2^64 addresses must not count as so many strangers."""
    assert (origin_of(one) == origin_of(other)) == same
