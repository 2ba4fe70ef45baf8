"""A fixed set of seeds under every fault: no oracle is broken, every fault occurs, a seed is a run.

`make sim-long` runs ten thousand more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from node.simulator.cast import CHARGED, draw_cast, draw_epochs
from node.simulator.run import Outcome, simulate
from node.simulator.settings import BYZANTINE, SIMULATED, Fault, Settings, faults_text, parse_faults

ENGINES = ("hotstuff", "pbft")
SIZES: tuple[tuple[tuple[int, ...], range], ...] = (
    ((1, 1, 1, 1), range(12)),
    ((1,) * 7, range(1)),
    ((5, 3, 3, 2, 1), range(2)),
    ((1,), range(1)),
)
ROLES_TRIED = range(100, 160)


@cache
def outcomes() -> tuple[Outcome, ...]:
    """The fixed set, run once."""
    runs = [(engine, powers, seed) for engine in ENGINES for powers, seeds in SIZES for seed in seeds]
    return tuple(simulate(Settings(seed, engine, powers)) for engine, powers, seed in runs)


def test_no_oracle_is_broken() -> None:
    """Safety, equal roots, honest signatures, bounds and progress, under everything we can inject."""
    assert [(each.settings.command, each.message) for each in outcomes() if not each.ok] == []


def test_every_run_reaches_its_views_and_commits() -> None:
    """A network that stands still breaks no rule of safety; that would prove nothing."""
    assert all(max(each.heights.values()) >= 5 for each in outcomes())
    assert sum(each.view >= each.settings.views for each in outcomes()) >= len(outcomes()) * 9 // 10


def test_half_of_the_runs_cross_several_edges() -> None:
    """A fault that hardly ever happens proves little; one that always does hides the rest."""
    crossing = [each for each in outcomes() if each.settings.params.epoch_blocks < SIMULATED.epoch_blocks]
    assert all(each.counts[Fault.EPOCHS] >= 2 for each in crossing)
    assert any(each.counts.get("sets changed") for each in crossing)
    drawn = [draw_epochs(SIMULATED, Random(seed)).epoch_blocks < SIMULATED.epoch_blocks for seed in range(200)]
    assert 80 < sum(drawn) < 120


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_takes_effect(fault: Fault) -> None:
    """A simulator that injects nothing is worth nothing: asked for alone, a fault occurs within a few seeds."""
    for seed in range(12):
        outcome = simulate(Settings(seed, views=25, faults=(fault,)))
        assert outcome.ok, outcome.message
        assert set(outcome.counts) & set(Fault) <= {fault}
        if outcome.counts.get(fault):
            return
    pytest.fail(f"{fault} never occurred")


@pytest.mark.parametrize("engine", ENGINES)
def test_crashes_come_at_every_effect_that_binds_or_speaks(engine: str) -> None:
    """Between decide, persist, sign and send (row 5): within a few seeds each of them is cut short."""
    missing = {"PersistSafety", "SignAndSend", "StoreProposal", "Commit", "RequestPayload", "EnsurePayload", "Send"}
    for seed in range(12):
        counts = simulate(Settings(seed, engine, views=60, faults=(Fault.CRASH,))).counts
        missing -= {point for point in missing if counts.get(f"crash at {point}")}
        if not missing:
            return
    pytest.fail(f"no crash at {sorted(missing)}")


def test_what_is_charged_stays_below_a_third() -> None:
    """The account of f: more would not be a fault of ours, less would leave the worst untried."""
    for powers, most in (((1, 1, 1, 1), 1), ((1,) * 7, 2), ((5, 3, 3, 2, 1), 4), ((10, 1, 1, 1), 3)):
        settings, seen = Settings(0, powers=powers), set()
        for seed in ROLES_TRIED:
            cast = draw_cast(settings, Random(seed))
            power = sum(powers[index] for index, _ in cast.roles)
            assert power * 3 < sum(powers)
            seen.add(power)
        assert max(seen) == most
    assert set(CHARGED) > set(BYZANTINE)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_real_state_machine_and_real_signatures_hold_as_well(engine: str) -> None:
    """The light state and the fast signatures are for speed; what they stand for must not behave otherwise."""
    for seed in range(2):
        outcome = simulate(Settings(seed, engine, views=25, real_state=True))
        assert outcome.ok, outcome.message
    outcome = simulate(Settings(5, engine, views=15, real_state=True, real_signatures=True))
    assert outcome.ok, outcome.message


def test_a_seed_is_a_run_whatever_the_hash_seed() -> None:
    """Same seed, same transcript, in another process with another order of sets."""
    settings = Settings(11, views=30)
    program = (
        "from node.simulator.run import simulate; from node.simulator.settings import Settings; "
        "print(simulate(Settings(11, views=30)).digest)"
    )
    mine = simulate(settings).digest
    for hash_seed in ("0", "1", "4242"):
        environment: Mapping[str, str] = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.strip() == mine
    assert simulate(replace(settings, seed=12)).digest != mine


def test_the_simulator_needs_no_event_loop() -> None:
    """A second shell, not the first one in disguise; and the light state loads no compiled kernels."""
    program = (
        "import sys, node.simulator.campaign, node.simulator.twins; "
        "from node.simulator.run import simulate; from node.simulator.settings import Settings; "
        "simulate(Settings(0, views=3)); "
        "print(*({'trio', 'socket', 'plyvel', 'numba', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) <= {"socket"}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("all", tuple(Fault)),
        ("none", ()),
        ("loss,crash", (Fault.LOSS, Fault.CRASH)),
        ("-twin", tuple(fault for fault in Fault if fault != Fault.TWIN)),
        ("all,-twin,-loss", tuple(fault for fault in Fault if fault not in (Fault.TWIN, Fault.LOSS))),
    ],
)
def test_faults_are_named_as_text(text: str, faults: tuple[Fault, ...]) -> None:
    """What a replay command says must be what was run."""
    assert parse_faults(text) == faults
    assert parse_faults(faults_text(faults)) == faults
