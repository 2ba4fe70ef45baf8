"""Where blocking work runs: the event loop may wait for short work, and never for long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from node.offload import DETOURS, IN_PLACE_US_MAX, SLOW_NS, YIELD_NS, Offload

pytestmark = pytest.mark.trio


class Stopwatch:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def work(self, lasting_ns: int) -> Callable[[], bool]:
        """Work of this length; its result is whether it ran in place."""
        loop = threading.get_ident()

        def do() -> bool:
            self.now_ns += lasting_ns
            return threading.get_ident() == loop

        return do


@pytest.mark.parametrize(("cost_us", "in_place"), [(0, True), (IN_PLACE_US_MAX, True), (IN_PLACE_US_MAX + 1, False)])
async def test_estimate_decides_where_work_runs(cost_us: int, in_place: bool) -> None:
    """A thread costs more than short work; long work in place would keep every peer waiting."""
    clock = Stopwatch()
    offload = Offload(clock)
    assert await offload.run(cost_us, clock.work(0)) is in_place
    assert await offload.run(0, clock.work(0)) is True


@pytest.mark.parametrize("cost_us", [0, IN_PLACE_US_MAX + 1])
async def test_work_gets_its_arguments_and_its_outcome_comes_back(cost_us: int) -> None:
    """Wherever it runs, the caller sees the same."""
    offload = Offload()
    assert await offload.run(cost_us, divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        await offload.run(cost_us, divmod, 17, 0)


@pytest.mark.parametrize(("lasting_ns", "runs_between_yields"), [(YIELD_NS, 1), (YIELD_NS // 4, 4)])
async def test_work_in_place_lets_others_run_once_it_has_held_them_up(
    lasting_ns: int, runs_between_yields: int
) -> None:
    """A queue of short work must not add up to one long piece; and a yield after each would delay every vote."""
    clock = Stopwatch()
    offload = Offload(clock)
    for _ in range(2):
        with trio.testing.assert_no_checkpoints():
            for _ in range(runs_between_yields - 1):
                await offload.run(0, clock.work(lasting_ns))
        with trio.testing.assert_checkpoints():
            await offload.run(0, clock.work(lasting_ns))


async def test_a_visit_to_a_thread_lets_others_run_too() -> None:
    """What ran in place before it has held nobody up since."""
    clock = Stopwatch()
    offload = Offload(clock)
    await offload.run(0, clock.work(YIELD_NS - 1))
    await offload.run(IN_PLACE_US_MAX + 1, clock.work(0))
    with trio.testing.assert_no_checkpoints():
        await offload.run(0, clock.work(YIELD_NS - 1))


@pytest.mark.parametrize(("lasting_ns", "detours"), [(SLOW_NS, 0), (SLOW_NS + 1, DETOURS)])
async def test_slow_work_in_place_is_followed_by_detours(lasting_ns: int, detours: int) -> None:
    """A disk that turns slow costs the event loop one pause in so many, not one each; one that recovers is believed."""
    clock = Stopwatch()
    offload = Offload(clock)
    assert await offload.run(0, clock.work(lasting_ns)) is True
    ran_in_place = [await offload.run(0, clock.work(0)) for _ in range(DETOURS + 2)]
    assert ran_in_place == [False] * detours + [True] * (DETOURS + 2 - detours)


async def test_slow_work_in_a_thread_causes_no_detours() -> None:
    """It hurt nobody, and was expected to be slow."""
    clock = Stopwatch()
    offload = Offload(clock)
    assert await offload.run(IN_PLACE_US_MAX + 1, clock.work(10 * SLOW_NS)) is False
    assert await offload.run(0, clock.work(0)) is True


async def test_one_kind_of_work_does_not_judge_another() -> None:
    """A slow disk says nothing of signatures."""
    clock = Stopwatch()
    slow, other = Offload(clock), Offload(clock)
    await slow.run(0, clock.work(SLOW_NS + 1))
    assert await slow.run(0, clock.work(0)) is False
    assert await other.run(0, clock.work(0)) is True


@pytest.mark.parametrize("shared", [True, False])
async def test_work_of_a_kind_that_is_in_a_thread_keeps_others_of_it_off_the_loop(shared: bool) -> None:
    """The one in the thread may hold a lock through a sync: in place, the loop would wait for the disk with it."""
    clock, gate = Stopwatch(), threading.Event()
    first = Offload(clock)
    second = first if shared else Offload(clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run, IN_PLACE_US_MAX + 1, gate.wait, 5.0)
        await trio.testing.wait_all_tasks_blocked()
        assert await second.run(0, clock.work(0)) is not shared
        gate.set()
    assert await second.run(0, clock.work(0)) is True


async def test_work_that_fails_in_a_thread_is_over_too() -> None:
    """Else one failure would send all later work to threads."""
    offload = Offload()
    with pytest.raises(ZeroDivisionError):
        await offload.run(IN_PLACE_US_MAX + 1, divmod, 1, 0)
    assert await offload.run(0, Stopwatch().work(0)) is True


async def test_a_crowd_in_threads_keeps_no_other_work_from_one() -> None:
    """Anyone may ask for what takes a thread a while, by the hundred: a vote's disk must not wait behind them."""
    gate = threading.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(trio.to_thread.run_sync, gate.wait, 60.0)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(30.0):
            assert await Offload().run(IN_PLACE_US_MAX + 1, divmod, 17, 5) == (3, 2)
        gate.set()
