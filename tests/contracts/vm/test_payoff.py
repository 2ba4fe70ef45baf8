"""The points of a payoff diagram come from the interpreter, and are where the payoff bends."""

from __future__ import annotations

import pytest

from contracts.vm.payoff import POINTS_MAX, Point, gained, payoff_points, price_grid
from genesis.errors import Rejected
from tests.contracts.vm.language.texts import EXPIRY_UNIX_MS, library

T = EXPIRY_UNIX_MS
STRADDLE = (1, 2, 100, 40, 150, T)


def test_the_points_of_a_straddle_are_its_payoff() -> None:
    """A V, flat beyond the band; the writer's gains are the holder's losses."""
    _, verified = library("straddle")
    prices = (30, 40, 100, 125, 150, 160)
    holder = payoff_points(verified, STRADDLE, 1, 0, prices, {})
    assert holder == tuple(Point(price, gain) for price, gain in zip(prices, (120, 120, 0, 50, 100, 100), strict=True))
    writer = payoff_points(verified, STRADDLE, 0, 0, prices, {})
    assert [each.gained_minor for each in writer] == [-each.gained_minor for each in holder]


def test_what_a_party_locked_and_deposited_counts_against_it() -> None:
    """A forward's buyer and an exerciser put money in, too."""
    _, forward = library("forward")
    assert [each.gained_minor for each in payoff_points(forward, STRADDLE, 0, 0, (70, 100, 130), {})] == [-60, 0, 60]
    _, delivery = library("physical_delivery")
    parameters = (3, 100, 600, T, T + 1)
    assert gained(delivery, parameters, {0: 1}, 1) == (300, -1800)
    assert gained(delivery, parameters, {0: 1}, 0) == (-300, 1800)
    assert gained(delivery, parameters, {0: None}, 1) == (0, 0)


def test_a_window_is_drawn_at_one_price_throughout() -> None:
    """An average of equal prices is the price."""
    _, verified = library("asian")
    points = payoff_points(verified, (1, 2, 100, 200, T, 1_000), 1, 0, (90, 150, 250), {})
    assert [each.gained_minor for each in points] == [0, 100, 200]


def test_the_grid_holds_every_bend_and_stays_within_what_may_be_observed() -> None:
    """A strike between two points would round the corner off."""
    _, verified = library("straddle")
    grid = price_grid(verified, STRADDLE, 7)
    assert {100, 40, 150} <= set(grid)
    assert (grid[0], grid[-1]) == (27, 163)
    assert list(grid) == sorted(set(grid))
    assert price_grid(verified, (1, 1, 1, 1, 10**12, T), 3)[0] == 1
    assert price_grid(verified, (1, 1, 1, 1, 10**12, T), 3)[-1] == 10**12
    _, digital = library("digital")
    assert price_grid(digital, (1, 1, 1, 100, T), 3) == (50, 100, 150)


def test_without_a_price_or_with_too_many_points_there_is_no_diagram() -> None:
    """Delivery depends on a choice alone; a million points would be a denial of service."""
    _, delivery = library("physical_delivery")
    for ask in (
        lambda: price_grid(delivery, (1, 1, 1, T, T + 1), 9),
        lambda: payoff_points(delivery, (), 0, 0, (), {}),
    ):
        with pytest.raises(Rejected, match="looks at no price"):
            ask()
    _, verified = library("straddle")
    with pytest.raises(Rejected, match="too many points"):
        payoff_points(verified, STRADDLE, 1, 0, range(POINTS_MAX + 1), {})
    with pytest.raises(Rejected, match="out of its range"):
        payoff_points(verified, STRADDLE, 1, 0, (0,), {})
