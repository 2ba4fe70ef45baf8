"""Keeps the house tidy: the rules of style and layering that no other tool checks.

Each rule is a function from a parsed file to the lines that break it. `PLANTED` shows for every rule a source that it
must catch, so that no rule can rot into one that finds nothing. Where the code has a good reason to break a rule,
`ALLOWED` names the file and the reason, where everybody sees it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORES = ("genesis", "consensus", "contracts")
PRODUCT = (*CORES, "node", "cli")
CODE = (*PRODUCT, "tests", "benchmarks")

FILE_LINES_MAX = 500
SAFETY_LINES_MAX = 200
FUNCTION_LINES_MAX = 60

ALLOWED: dict[tuple[str, str], str] = {
    ("function_fits_a_screen", "contracts/merkle.py"): "BLAKE2s's eighty mixing steps, unrolled for the compiler",
    ("nothing_sleeps_on_the_wall_clock", "cli/bench_load.py"): "an open loop posts by the wall clock",
    ("nothing_sleeps_on_the_wall_clock", "cli/processes.py"): "the system announces no end of another's process",
    ("nothing_sleeps_on_the_wall_clock", "cli/replay_wait.py"): "a tape is played by the wall clock",
    ("nothing_sleeps_on_the_wall_clock", "cli/delivery.py"): "a busy validator is asked again after a pause",
    (
        "nothing_sleeps_on_the_wall_clock",
        "cli/testnet_run.py",
    ): "a starting process cannot be waited for in another way",
    (
        "nothing_sleeps_on_the_wall_clock",
        "tests/cli/test_testnet_process.py",
    ): "no process announces to another how far it has come",
}
"""(rule, file) -> the reason why this file may break this rule."""


@dataclass(frozen=True)
class Source:
    """One Python file: its path relative to the root, its text, its tree with a `parent` for every node."""

    path: str
    text: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST]

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]


def parse(path: str, text: str) -> Source:
    """The source with its tree; a syntax error names the file."""
    tree = ast.parse(text, filename=path)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return Source(path, text, tree, parents)


Finding = tuple[int, str]
Rule = Callable[[Source], Iterator[Finding]]


# --- shape ----------------------------------------------------------------------------------------------------------


def file_is_short(source: Source) -> Iterator[Finding]:
    """500 lines are a question; the safety rules must fit one sitting."""
    lines_max = SAFETY_LINES_MAX - 1 if source.path.endswith("/safety.py") else FILE_LINES_MAX
    lines = source.text.count("\n")
    if lines > lines_max:
        yield lines, f"{lines} lines, at most {lines_max}"


def function_fits_a_screen(source: Source) -> Iterator[Finding]:
    """Its docstring not counted."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            documented = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - documented
            if lines > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}"


def module_says_what_it_is(source: Source) -> Iterator[Finding]:
    """Every file opens with its purpose; an empty `__init__` has none."""
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield 1, "no module docstring"


def every_test_says_why(source: Source) -> Iterator[Finding]:
    """The name is the claim, the docstring why it matters."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or ast.get_docstring(node):
            continue
        if node.name.startswith("test_"):
            yield node.lineno, f"{node.name} has no docstring"


# --- errors and time ------------------------------------------------------------------------------------------------


def nothing_swallows_every_error(source: Source) -> Iterator[Finding]:
    """A peer's fault has a type; our own must stop the process. To clean up and raise again is fine."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler) or _raises_again(node.body[-1]):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        for each in caught:
            if each is None or (isinstance(each, ast.Name) and each.id in ("Exception", "BaseException")):
                yield node.lineno, f"except {each.id if isinstance(each, ast.Name) else '(everything)'}"


def _raises_again(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Raise) and statement.exc is None


def no_bare_assert(source: Source) -> Iterator[Finding]:
    """`python -O` removes them; `invariant` stays."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert; use genesis.errors.invariant"


def nothing_sleeps_on_the_wall_clock(source: Source) -> Iterator[Finding]:
    """Wait for the event, or on the virtual clock."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield node.lineno, "time.sleep"
        if isinstance(node, ast.ImportFrom) and node.module == "time" and "sleep" in [each.name for each in node.names]:
            yield node.lineno, "from time import sleep"


def no_global_state(source: Source) -> Iterator[Finding]:
    """Configuration is a frozen object passed in."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"


# --- the cores ------------------------------------------------------------------------------------------------------

THIRD_PARTY = {
    "genesis": {"genesis", "msgpack", "nacl"},
    "consensus": {"consensus", "genesis"},
    "contracts": {"contracts", "genesis", "numpy", "numba", "sortedcontainers"},
}
WORLDLY = {
    "asyncio", "builtins", "concurrent", "datetime", "importlib", "locale", "logging", "multiprocessing", "os",
    "pathlib", "pickle", "queue", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo",
}  # fmt: skip


def core_imports_nothing_of_the_world(source: Source) -> Iterator[Finding]:
    """Also inside functions and behind TYPE_CHECKING: a core knows no clock, socket, disk, thread or upper layer."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            modules = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "."]
        else:
            continue
        for module in modules:
            top = module.split(".")[0]
            known = THIRD_PARTY.get(source.folder, set())
            if top in WORLDLY or (top not in sys.stdlib_module_names and top not in known):
                yield node.lineno, f"import {module}"


def core_calls_nothing_of_the_world(source: Source) -> Iterator[Finding]:
    """`hash` and `id` differ from run to run; the others reach outside."""
    forbidden = {"hash", "id", "open", "input", "print", "eval", "exec", "__import__", "globals", "vars"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in forbidden:
            yield node.lineno, f"{node.func.id}()"


def core_counts_in_integers(source: Source) -> Iterator[Finding]:
    """No float literal, no float(), no true division: money and votes are integers."""
    if source.path.startswith("contracts/pricing/"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"float literal {node.value}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            yield node.lineno, "float()"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "true division"


SET_TYPE = re.compile(r"(Final\[)?(set|frozenset|AbstractSet|Set)\b")
ORDER_FREE = {"sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all"}


def core_never_iterates_a_set(source: Source) -> Iterator[Finding]:
    """Its order follows the hash seed, so two nodes would differ. Sorting or an order-free fold makes it fine."""
    sets = _names_of_sets(source)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.For):
            iterated = [node.iter]
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp) and not _folded(source, node):
            iterated = [each.iter for each in node.generators]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("list", "tuple", "iter"):
            iterated = node.args[:1]
        else:
            continue
        here = {name for scope, name in sets if scope in (None, _function_of(source, node))}
        for each in iterated:
            if _is_set(each, here):
                yield each.lineno, f"iterates the set {ast.unparse(each)}"


def _folded(source: Source, node: ast.AST) -> bool:
    parent = source.parents.get(node)
    return isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id in ORDER_FREE


def _function_of(source: Source, node: ast.AST) -> ast.AST | None:
    """The function around `node`; None for a module's or class's own lines."""
    above = source.parents.get(node)
    while above is not None and not isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
        above = source.parents.get(above)
    return above


def _names_of_sets(source: Source) -> set[tuple[ast.AST | None, str]]:
    """(function, name) of everything declared as a set or assigned one; attributes belong to no function."""
    found = set()
    for node in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(node, ast.AnnAssign | ast.arg) and SET_TYPE.match(
            ast.unparse(node.annotation or ast.Name("Any"))
        ):
            names = [node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)]
        if isinstance(node, ast.Assign) and _is_set(node.value, set()):
            names = [ast.unparse(target) for target in node.targets]
        found |= {(None if "." in name else _function_of(source, node), name) for name in names}
    return found


def _is_set(node: ast.expr, sets: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("set", "frozenset")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return _is_set(node.left, sets) or _is_set(node.right, sets)
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in sets


# --- the rules over the code ------------------------------------------------------------------------------------------

RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (file_is_short, CODE),
    (function_fits_a_screen, PRODUCT),
    (module_says_what_it_is, CODE),
    (every_test_says_why, ("tests",)),
    (nothing_swallows_every_error, CODE),
    (no_bare_assert, PRODUCT),
    (nothing_sleeps_on_the_wall_clock, CODE),
    (no_global_state, PRODUCT),
    (core_imports_nothing_of_the_world, CORES),
    (core_calls_nothing_of_the_world, CORES),
    (core_counts_in_integers, CORES),
    (core_never_iterates_a_set, CORES),
)

PLANTED: tuple[tuple[Rule, str, str], ...] = (
    (file_is_short, "node/a.py", "\n" * (FILE_LINES_MAX + 1)),
    (file_is_short, "consensus/hotstuff/safety.py", "\n" * SAFETY_LINES_MAX),
    (function_fits_a_screen, "node/a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    (module_says_what_it_is, "node/a.py", "x = 1"),
    (every_test_says_why, "tests/test_a.py", "def test_a(): ..."),
    (every_test_says_why, "tests/test_a.py", "class TestA:\n    async def test_a(self): ..."),
    (nothing_swallows_every_error, "node/a.py", "try: ...\nexcept Exception: ..."),
    (nothing_swallows_every_error, "node/a.py", "try: ...\nexcept (ValueError, BaseException) as e: ..."),
    (nothing_swallows_every_error, "node/a.py", "try: ...\nexcept: ..."),
    (nothing_swallows_every_error, "node/a.py", "try: ...\nexcept* Exception: ..."),
    (nothing_swallows_every_error, "node/a.py", "try: ...\nexcept Exception: raise ValueError"),
    (no_bare_assert, "node/a.py", "def f(x):\n    assert x"),
    (nothing_sleeps_on_the_wall_clock, "tests/test_a.py", "time.sleep(1)"),
    (nothing_sleeps_on_the_wall_clock, "cli/a.py", "def f():\n    from time import sleep"),
    (no_global_state, "node/a.py", "def f():\n    global x"),
    (core_imports_nothing_of_the_world, "genesis/a.py", "import time"),
    (core_imports_nothing_of_the_world, "genesis/a.py", "import numpy"),
    (core_imports_nothing_of_the_world, "consensus/a.py", "def f():\n    from random import random"),
    (core_imports_nothing_of_the_world, "consensus/a.py", "if TYPE_CHECKING:\n    import contracts.machine"),
    (core_imports_nothing_of_the_world, "contracts/a.py", "def f():\n    import os.path"),
    (core_imports_nothing_of_the_world, "contracts/a.py", "from node.store import Store"),
    (core_calls_nothing_of_the_world, "contracts/a.py", "x = hash('a')"),
    (core_counts_in_integers, "contracts/a.py", "x = 0.5"),
    (core_counts_in_integers, "contracts/a.py", "x = float(y)"),
    (core_counts_in_integers, "contracts/a.py", "x = y / 2"),
    (core_counts_in_integers, "consensus/a.py", "x /= 2"),
    (core_never_iterates_a_set, "consensus/a.py", "for x in {1, 2}: ..."),
    (core_never_iterates_a_set, "consensus/a.py", "for x in a - set(b): ..."),
    (core_never_iterates_a_set, "consensus/a.py", "def f(a: frozenset[int]):\n    return [x for x in a]"),
    (
        core_never_iterates_a_set,
        "contracts/a.py",
        "class A:\n    def f(self):\n        self.x: set[int] = y\n        tuple(self.x)",
    ),
)

CLEAN = """\"\"\"A module that breaks no rule.\"\"\"

from genesis.codec import encode


def test_a(members: frozenset[int]) -> int:
    \"\"\"It matters.\"\"\"
    try:
        total = sum(x for x in members) // 2
    except ValueError:
        return 0
    except BaseException:
        total = 0
        raise
    for member in sorted(members):
        total += member
    return total


def b(members: list[int]) -> list[int]:
    \"\"\"The same name, another type.\"\"\"
    return [member for member in members]
"""


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of the repository, parsed once."""
    paths = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    return tuple(parse(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths)


@pytest.mark.parametrize(("rule", "folders"), RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_code_keeps_the_rule(rule: Rule, folders: tuple[str, ...]) -> None:
    """One message a line, so that an editor can jump to it."""
    found = [
        f"{source.path}:{line}: {what}"
        for source in sources()
        if source.folder in folders and (rule.__name__, source.path) not in ALLOWED
        for line, what in rule(source)
    ]
    assert not found, "\n".join(["", f"{rule.__name__}: {rule.__doc__}", *found])


@pytest.mark.parametrize(
    ("rule", "path", "text"), PLANTED, ids=[f"{rule.__name__}-{text[:40]!r}" for rule, _, text in PLANTED]
)
def test_each_rule_finds_a_planted_fault(rule: Rule, path: str, text: str) -> None:
    """A rule that finds nothing anywhere would look like a tidy house."""
    assert list(rule(parse(path, text)))


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES], ids=lambda rule: rule.__name__)
def test_no_rule_finds_a_fault_where_there_is_none(rule: Rule) -> None:
    """A rule that cries at everything is switched off by the next reader."""
    assert not list(rule(parse("contracts/a.py", CLEAN)))


def test_every_exception_is_still_needed() -> None:
    """An exception that outlives its reason hides the next fault."""
    rules = {rule.__name__: rule for rule, _ in RULES}
    by_path = {source.path: source for source in sources()}
    stale = [key for key in ALLOWED if key[1] not in by_path or not list(rules[key[0]](by_path[key[1]]))]
    assert not stale


# --- the rules over every text file -----------------------------------------------------------------------------------

SKIPPED = {".git", ".venv", "__pycache__", "build", "dist"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".lock", ".cfg", ".yml", ".yaml", ".csv", ".json", ""}
TEXT_RULES: dict[str, str] = {
    "an unfinished thought": r"\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b",
    "a path of one machine": r"(?<![\w.$}/-])/(home|root|work|Users|opt|mnt)/\w",
    "a package index": r"(^|\s)(--(extra-)?index[-]url|--find[-]links|--trusted[-]host)\b|https?://\S*/simple\b|p[y]pi\.org|pythonh[o]sted",
    "a private key": r"BEGIN ([A-Z]+ )?PRIVATE [K]EY",
}
TEXT_PLANTED: tuple[tuple[str, str], ...] = (
    ("an unfinished thought", "x = 1  # TO" + "DO later"),
    ("a path of one machine", "see /ho" + "me/someone/novate"),
    ("a package index", "--index" + "-url https://index.example"),
    ("a package index", "from https://index.example/sim" + "ple"),
    ("a private key", "-----BEGIN PRIVATE " + "KEY-----"),
)


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """(path, content) of every text file that could be in the repository; caches and the environment are left out."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in (".ci", ".gitignore") for part in parts)
        if hidden or SKIPPED & set(parts) or any(part.endswith(".egg-info") for part in parts) or not path.is_file():
            continue
        if path.suffix in TEXT_SUFFIXES and not parts[0].startswith("novate-testnet"):
            found.append(("/".join(parts), path.read_text(errors="replace")))
    return tuple(found)


@pytest.mark.parametrize("rule", TEXT_RULES)
def test_no_text_holds(rule: str) -> None:
    """The repository must read the same on every machine, today and in a year."""
    pattern = re.compile(TEXT_RULES[rule])
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(["", rule, *found])


@pytest.mark.parametrize(("rule", "line"), TEXT_PLANTED)
def test_each_text_rule_finds_a_planted_fault(rule: str, line: str) -> None:
    """The patterns are written so as not to find themselves; they must still find the real thing."""
    assert re.search(TEXT_RULES[rule], line)


# --- documents and tooling --------------------------------------------------------------------------------------------

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"`make ([a-z-]+)")


def test_every_link_between_documents_leads_somewhere() -> None:
    """A newcomer follows them in the first hour."""
    broken = [
        f"{path}: {target}"
        for path, text in texts()
        if path.endswith(".md")
        for target in LINK.findall(text)
        if "://" not in target and not (ROOT / path).parent.joinpath(target).exists()
    ]
    assert not broken, "\n".join(broken)


def test_the_architecture_names_every_module() -> None:
    """Whoever looks for the place of a line looks there; a module it does not know has no place."""
    described = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:" + "|".join(PRODUCT) + r")/[\w/]+\.py)`", described))
    there = {source.path for source in sources() if source.folder in PRODUCT and "__init__" not in source.path}
    assert named == there


def test_every_make_target_in_the_documents_exists() -> None:
    """The first command that a reader types must work."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {(path, target) for path, text in texts() if path.endswith(".md") for target in MAKE.findall(text)}
    assert {"setup", "test", "check", "demo", "bench", "help"} <= targets
    assert not {(path, target) for path, target in named if target not in targets}


def test_the_lock_pins_every_dependency_with_digests() -> None:
    """Whoever installs gets the very files that were tested, from whatever index."""
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    pinned = {}
    for line in lock.splitlines():
        if line and not line.startswith("#"):
            match = re.match(r"([a-z0-9-]+)==(\S+)( ; [^-]*)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$", line)
            assert match, line[:80]
            pinned[match[1]] = match[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {re.split(r"[<>=!~\[ ]", each)[0] for each in wanted} - {"novate"} <= pinned.keys()
