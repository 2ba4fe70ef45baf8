"""A node that would compute other prices than its peers is stopped before it takes part."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts import kernels
from contracts.pricing import guard
from genesis.errors import InvariantViolation

ROOT = Path(__file__).resolve().parents[3]

MODES = """
import ctypes, struct
from contracts.pricing import guard
from genesis.errors import InvariantViolation
libm, environment = ctypes.CDLL("libm.so.6"), ctypes.create_string_buffer(32)
MXCSR_AT = 28
libm.fegetenv(environment)
normal = struct.unpack_from("<I", environment, MXCSR_AT)[0]
guard.check_modes()
modes = {"down": 0x2000, "up": 0x4000, "to zero": 0x6000, "flush to zero": 0x8000, "denormals are zero": 0x40}
for name, bits in modes.items():
    struct.pack_into("<I", environment, MXCSR_AT, normal | bits)
    libm.fesetenv(environment)
    try:
        guard.check_modes()
        found = "not noticed"
    except InvariantViolation as violation:
        found = violation.message
    struct.pack_into("<I", environment, MXCSR_AT, normal)
    libm.fesetenv(environment)
    print(f"{name}: {found}")
guard.check_modes()
"""
"""Sets the processor's control word as a library's start-up code would: rounding in bits 13 and 14, the rest by bit."""


def run(*arguments: str, **environment: str) -> list[str]:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the control word of x86")
def test_every_wrong_mode_of_the_processor_is_noticed() -> None:
    """A shared library built with -ffast-math sets two of them for the thread that loads it."""
    found = dict(line.split(": ", 1) for line in run("-c", MODES))
    assert {name: message.split(": not so that ")[1].split(".")[0] for name, message in found.items()} == {
        "down": "a tie goes up to even",
        "up": "a tie goes down to even",
        "to zero": "a tie goes up to even",
        "flush to zero": "a subnormal result is kept",
        "denormals are zero": "a subnormal argument is used",
    }


def test_every_model_gives_its_golden_bits() -> None:
    """Change a digest only if you meant to change prices: validators before and after it refuse each other."""
    kernels.self_test()
    assert {name: golden for name, (_, golden) in guard.MODELS.items()} == guard.digests()


def test_the_interpreted_bits_are_the_golden_ones() -> None:
    """The interpreter rounds every operation by itself: a compiler that fused two of them would differ here."""
    printed = run("-m", "tests.contracts.pricing.golden", NUMBA_DISABLE_JIT="1")
    assert [line.split('"')[1::2] for line in printed] == [[name, golden] for name, (_, golden) in guard.MODELS.items()]


def test_every_model_is_guarded() -> None:
    """A model that nobody compares is where validators come apart unseen."""
    offering = {
        path.stem for path in (ROOT / "contracts" / "pricing").glob("*.py") if "def sample(" in path.read_text()
    }
    assert offering == set(guard.MODELS)


def test_a_model_of_other_bits_stops_the_node_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever operates it must know what to look at."""
    wrong = (guard.MODELS["vanilla"][0], "00" * guard.DIGEST_BYTES)
    monkeypatch.setattr(guard, "MODELS", {**guard.MODELS, "vanilla": wrong})
    with pytest.raises(InvariantViolation, match="The kernels of vanilla compute other bits"):
        guard.self_test()


def test_one_bit_of_one_sample_is_another_kernel_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that is consistent in itself but differs from its peers is theirs to refuse, by the hash in its hello."""
    right = kernels.kernel_hash()
    first, *others = guard.MODELS["vanilla"][0]()
    changed = guard.digest_of("vanilla", (np.nextafter(first, 1e9), *others))
    assert changed != guard.digests()["vanilla"]
    found = {**guard.digests(), "vanilla": changed}
    monkeypatch.setattr(guard, "digests", lambda: found)
    assert kernels.kernel_hash.__wrapped__() != right


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_no_number_is_refused(value: float) -> None:
    """NaN has other bits on other machines: such a digest would part honest peers."""
    with pytest.raises(InvariantViolation, match="not finite"):
        guard.digest_of("vanilla", (np.array([1.0, value]),))
