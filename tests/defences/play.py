"""``python -m tests.defences.play``: runs tests with one defence after the other taken out.

Reads the names of defences from the command line, and prints one JSON document a line as soon as it has it: ``name``,
``exit`` (pytest's status, or None if it was still running after `RUN_S_MAX`), ``cases`` (of each case: its test, its
phase, its outcome, and what it reported). An empty name stands for every test in the table on the product as it is.

Theory of operation: the product is imported once, and each run is a fork of this process, so that a patch ends with
its run and a run that hangs can be killed. The test modules are imported in the fork, after the patch.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.defences.model import RUN_S_MAX, WHOLE_S_MAX
from tests.defences.table import DEFENCES
from tests.mutants.model import Patch

PRODUCT: Final = ("genesis", "consensus", "contracts", "node", "cli")
HEAVY: Final = ("hypothesis.strategies", "hypothesis.stateful", "pytest_trio.plugin", "trio.testing")
REPORT_CHARS_MAX: Final = 20_000
LEAN: Final = (
    "--tb=native",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:anyio",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
"""What a run can do without; and pytest would like to see other plugins before anybody imports them."""


class Recorder:
    """A pytest plugin that keeps what became of each case. One failed case of a test is enough: its others are left."""

    def __init__(self) -> None:
        self.cases: list[dict[str, str]] = []
        self._failed: set[str] = set()

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """True leaves this case out."""
        return item.nodeid.partition("[")[0] in self._failed or None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each call, and whatever went wrong around one."""
        if report.when == "call" or report.outcome != "passed":
            text = str(report.longrepr)[-REPORT_CHARS_MAX:] if report.failed else ""
            phase = str(report.when)
            if report.failed:
                self._failed.add(report.nodeid.partition("[")[0])
            self.cases.append({"test": report.nodeid, "phase": phase, "outcome": report.outcome, "report": text})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported shows nothing about a defence."""
        if report.failed:
            text = str(report.longrepr)[-REPORT_CHARS_MAX:]
            self.cases.append({"test": report.nodeid, "phase": "collect", "outcome": "failed", "report": text})


def import_product() -> None:
    """Everything that a patch may name, and what tests need most, once for all runs."""
    for name in PRODUCT:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in HEAVY:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def run_here(tests: Sequence[str], sabotage: Patch | None, output: int) -> None:
    """In the fork: pytest on these tests, its findings to `output`."""
    devnull = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(devnull, stream)
    recorder = Recorder()
    arguments = [*LEAN, *(f"tests/{each}" for each in tests)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        if sabotage is not None:
            sabotage(monkeypatch)
        status = pytest.main(arguments, plugins=[recorder])
    with os.fdopen(output, "w") as file:
        json.dump({"exit": int(status), "cases": recorder.cases}, file)


def run(tests: Sequence[str], sabotage: Patch | None, run_s_max: float) -> dict[str, Any]:
    """One run in a process group of its own, whose end is the end of whatever it started."""
    mine, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mine)
        os.setpgid(0, 0)
        try:
            run_here(tests, sabotage, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    pieces = []
    with os.fdopen(mine, "rb") as file:
        # A run is silent until it writes down what it found, so this is how long it may last.
        while select.select([file], [], [], run_s_max)[0] and (piece := os.read(file.fileno(), 65_536)):
            pieces.append(piece)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(b"".join(pieces) or '{"exit": null, "cases": []}')  # type: ignore[no-any-return]


def main(names: Sequence[str]) -> None:
    """One run a name."""
    os.environ.pop("NOVATE_LONG", None)
    import_product()
    for name in names:
        chosen = [each for each in DEFENCES if name in ("", each.name)]
        tests = sorted({test for each in chosen for test in each.tests})
        result = run(tests, chosen[0].sabotage if name else None, RUN_S_MAX if name else WHOLE_S_MAX)
        print(json.dumps({"name": name, **result}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
