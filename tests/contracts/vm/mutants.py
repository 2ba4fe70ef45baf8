"""Mutants of the machine: its source with one line changed, loaded beside the real one.

Rules:

1. A mutant is a piece of source text and what stands in its place. The text must occur exactly once in its module, so
   that a line that changes breaks its mutant loudly.
2. What is mutated is loaded anew with all that imports it; nothing of the real modules is changed. The kernel of a
   mutant is interpreted, since compiling each would take minutes.
3. `find` gives the first random program on which interpreter, kernel and oracle no longer agree, or on which a rule of
   `tests.contracts.vm.differential` is broken. A mutant of the verifier, or of its intervals, is found by a program
   of `test_verifier.REFUSED` that it no longer refuses for its reason, or by the random programs.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final
from unittest.mock import patch

import pytest

import contracts.vm
from contracts.compiled import config
from genesis.errors import InvariantViolation, Rejected
from tests.contracts.vm import test_verifier
from tests.contracts.vm.differential import Disagreement, Machine, Plan, examine
from tests.contracts.vm.mutant_table import Mutant

MODULES: Final = ("intervals", "verifier", "interpreter", "kernel", "columns")
"""In the order of their imports."""
PLAN: Final = Plan(instances=2, observations=4, oracle_every=1, is_word_sized=None)
KERNEL_PLAN: Final = Plan(instances=1, observations=6, oracle_every=6, is_word_sized=True)
WRONG: Final = (Disagreement, InvariantViolation, Rejected, ArithmeticError, LookupError)
"""How a broken machine shows: a result that differs, or an error where none may be."""


def loaded(mutant: Mutant | None = None) -> Machine:
    """A machine of its own, with the mutant's line if there is one."""
    names = MODULES[MODULES.index(mutant.module) if mutant is not None else 0 :]
    made: dict[str, ModuleType] = {}
    with _loading():
        for name in names:
            made[name] = _module(name, mutant if mutant is not None and mutant.module == name else None)
    modules = {name: made.get(name, getattr(contracts.vm, name)) for name in MODULES[1:]}
    return Machine(**modules)


@contextmanager
def _loading() -> Iterator[None]:
    """While this lasts, kernels are not compiled; what stands in the place of the modules goes when it ends."""
    real = {name: getattr(contracts.vm, name) for name in MODULES}
    with patch.dict(sys.modules), patch.multiple(contracts.vm, **real), patch.object(config, "DISABLE_JIT", True):
        yield


def _module(name: str, mutant: Mutant | None) -> ModuleType:
    path = f"contracts.vm.{name}"
    real = sys.modules[path]
    spec = importlib.util.spec_from_file_location(path, real.__file__)
    if spec is None or real.__file__ is None:
        raise LookupError(path)
    with open(real.__file__) as file:
        source = file.read()
    if mutant is not None:
        if source.count(mutant.text) != 1:
            raise LookupError(
                f"{mutant.name}: its text occurs {source.count(mutant.text)} times in {name}.py, not once."
            )
        source = source.replace(mutant.text, mutant.instead)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path] = module
    setattr(contracts.vm, name, module)
    exec(compile(source, f"{name}.py with {mutant.name}" if mutant else real.__file__, "exec"), module.__dict__)
    return module


def find(machine: Machine, programs: int, plan: Plan) -> tuple[int, str] | None:
    """The first seed below `programs` under which something is wrong, and what."""
    for seed in range(programs):
        try:
            examine(machine, seed, plan)
        except WRONG as wrong:
            return seed, str(wrong)
    return None


def find_in_verifier(machine: Machine) -> str | None:
    """The first test of the verifier that fails with this one in its place."""
    with patch.object(test_verifier, "verify", machine.verifier.verify):
        for name, program, why in test_verifier.REFUSED:
            if not _holds(
                lambda program=program, why=why: test_verifier.test_a_program_that_breaks_a_rule_is_refused(
                    program, why
                )
            ):
                return name
        for test in test_verifier.ACCEPTED:
            if not _holds(test):
                return test.__name__
    return None


def _holds(test: Callable[[], None]) -> bool:
    try:
        test()
    except (AssertionError, TypeError, ValueError, pytest.fail.Exception, *WRONG):
        return False
    return True


def plan_of(mutant: Mutant) -> Plan:
    """Kernel mutants need word-sized programs; the interpreted kernel is left out where it is not looked at."""
    return KERNEL_PLAN if mutant.module in ("kernel", "columns") else INTERPRETER_PLAN


INTERPRETER_PLAN: Final = Plan(instances=2, observations=4, oracle_every=1, uses_kernel=False)
