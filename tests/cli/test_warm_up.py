"""A minute without a word looks like a hang: what compiles says so, on standard error, and nothing else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from numba import njit

from cli.output import Failure
from cli.warm_up import WORDS, Step, telling_of_kernels, warm_up
from contracts.pricing import guard

ROOT = Path(__file__).resolve().parents[2]
PRICE = ["price", "--right", "call", "--spot", "100", "--strike", "100", "--r", "0", "--t-years", "1", "--vol", "0.2"]
INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"


@pytest.mark.process
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_a_command_says_that_it_compiles_and_with_a_warm_cache_nothing(tmp_path: Path) -> None:
    """The answer on standard output is one document either way."""
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *PRICE, "--json"],
            cwd=ROOT,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert json.loads(done.stdout)["rows"][0]["price"] == pytest.approx(7.9655674554)
        said.append(done.stderr)
    assert said == [f"{WORDS}\n", ""]


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_each_function_is_counted_and_a_compiled_one_is_not() -> None:
    """A terminal shows how far it is; whoever has compiled everything hears nothing."""
    begun, counted = [], []

    def begin(stack: ExitStack) -> Step:
        begun.append(stack)
        return lambda: counted.append(1)

    @njit
    def double(x: float) -> float:
        return 2 * x

    with telling_of_kernels(begin):
        assert begun == []
        assert double(2.0) == 4.0
        assert double(2) == 4
    assert (len(begun), len(counted)) == (1, 2)
    with telling_of_kernels(begin):
        assert double(3.0) == 6.0
    assert (len(begun), len(counted)) == (1, 2)


def test_kernels_of_other_bits_are_a_failure_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine or of its packages: whoever starts a node there needs the reason, not a traceback."""
    wrong = (guard.MODELS["vanilla"][0], "00" * guard.DIGEST_BYTES)
    monkeypatch.setattr(guard, "MODELS", {"vanilla": wrong})
    guard.digests.cache_clear()
    with pytest.raises(Failure, match="The kernels of vanilla compute other bits") as caught:
        warm_up()
    guard.digests.cache_clear()
    assert (caught.value.code, "pinned versions" in caught.value.advice) == ("wrong_kernels", True)


def test_outside_of_the_block_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """A listener that stays behind would speak in somebody else's command."""

    @njit
    def treble(x: float) -> float:
        return 3 * x

    with telling_of_kernels():
        pass
    assert treble(2.0) == 6.0
    assert capsys.readouterr().err == ""
