"""Holds every kernel file to the rules of `contracts.pricing.kernel`, over its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
KERNELS = sorted(CONTRACTS.rglob("*kernel.py"))
DECORATORS = ("kernel", "inlined")
IMPORTS = {
    "from __future__ import annotations",
    "from math import sqrt",
    "from typing import Any",
    "from typing import Any, Final",
    "import numpy as np",
    "from contracts.compiled import inlined",
    "from contracts.compiled import kernel",
    "from contracts.compiled import inlined, kernel",
}
KERNEL_IMPORT = re.compile(r"from contracts\.(pricing|vm)\.(\w+_)?kernel import \w+(, \w+)*")
"""A kernel may call another kernel file's functions and use its constants, under their own names."""
CASTS = {"np.int64", "np.uint64", "np.float64"}
BUILTINS = {"sqrt", "abs", "range"}
OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor,
)  # fmt: skip
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
PLAIN = (ast.expr_context, ast.Name, ast.Tuple, ast.IfExp, ast.If, ast.Return, ast.Assign, ast.arguments, ast.arg)
"""Nodes that need no look at what is in them, since their children are looked at."""


INTEGER_KERNEL = CONTRACTS / "vm" / "kernel.py"
"""The one kernel without a float: only there does integer division have a meaning that no machine changes."""


def offences(text: str) -> Iterator[str]:
    """What in a kernel's source is not allowed, with its line."""
    tree = ast.parse(text)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} | _imported(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield from _offences_of_function(node, functions)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if ast.unparse(node) not in IMPORTS and not KERNEL_IMPORT.fullmatch(ast.unparse(node)):
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.AnnAssign):
            if not _is_frozen_number(node):
                yield f"{node.lineno}: no frozen number: {ast.unparse(node)}"
        elif not _is_docstring(node):
            yield f"{node.lineno}: {ast.unparse(node)}"


def _imported(tree: ast.Module) -> set[str]:
    """The names that come from other kernel files."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {each.name for node in imports if KERNEL_IMPORT.fullmatch(ast.unparse(node)) for each in node.names}


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_frozen_number(node: ast.AnnAssign) -> bool:
    value = node.value.operand if isinstance(node.value, ast.UnaryOp) else node.value
    number = isinstance(value, ast.Constant) and type(value.value) in (int, float)
    return number and isinstance(node.target, ast.Name) and ast.unparse(node.annotation) == "Final"


def _offences_of_function(function: ast.FunctionDef, functions: set[str]) -> Iterator[str]:
    if [ast.unparse(each) for each in function.decorator_list] not in [[each] for each in DECORATORS]:
        yield f"{function.lineno}: {function.name} is not decorated by exactly one of {DECORATORS}"
    if function.args.defaults or function.args.vararg or function.args.kwonlyargs or function.args.kwarg:
        yield f"{function.lineno}: {function.name} has more than plain arguments"
    taken = functions | BUILTINS | {"np", *DECORATORS}
    bound = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    bound |= {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for name in sorted(bound & taken):
        yield f"{function.lineno}: {function.name} gives {name} another meaning"
    for statement in function.body:
        if not (statement is function.body[0] and _is_docstring(statement)):
            yield from _offences_of_node(statement, functions)


def _offences_of_node(node: ast.AST, functions: set[str]) -> Iterator[str]:
    if not _is_allowed(node, functions):
        yield f"{getattr(node, 'lineno', 0)}: {type(node).__name__} {ast.unparse(node)}"
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.operator | ast.cmpop | ast.unaryop | ast.boolop) or ast.unparse(child) in CASTS:
            continue
        yield from _offences_of_node(child, functions)


def _is_allowed(node: ast.AST, functions: set[str]) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, OPERATORS)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.Not)
    if isinstance(node, ast.Compare):
        return all(isinstance(each, COMPARISONS) for each in node.ops)
    if isinstance(node, ast.BoolOp):
        return True
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.Subscript):
        return not isinstance(node.slice, ast.Slice)
    if isinstance(node, ast.For):
        return ast.unparse(node.iter).startswith("range(") and not node.orelse
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in functions
    if isinstance(node, ast.Attribute):
        return node.attr in ("size", "shape") or _is_bit_cast(node)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        known = called in functions | BUILTINS | CASTS or _is_bit_cast(node.func)
        return known and not node.keywords and not any(isinstance(each, ast.Starred) for each in node.args)
    return isinstance(node, PLAIN)


def _is_bit_cast(node: ast.AST) -> bool:
    """``np.float64(x).view`` or ``np.int64(x).view``: of a scalar whose type is stated."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "view"
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in CASTS
    )


def in_kernel(line: str, decorator: str = "kernel") -> str:
    """A kernel whose one function holds `line`."""
    return f"@{decorator}\ndef price(x):\n    {line}\n"


PLANTED: tuple[tuple[str, str], ...] = (
    ("libm's function", in_kernel("return math.exp(x)")),
    ("libm by import", "from math import exp"),
    ("libm by the module", "import math"),
    ("a ufunc", in_kernel("return np.exp(x)")),
    ("a ufunc for the root", in_kernel("return np.sqrt(x)")),
    ("a reduction", in_kernel("return np.sum(x)")),
    ("a reduction as a method", in_kernel("return x.sum()")),
    ("a built-in reduction", in_kernel("return sum(x)")),
    ("a dot product", in_kernel("return x @ x")),
    ("a power", in_kernel("return x**2")),
    ("a power by name", in_kernel("return pow(x, 2)")),
    ("a remainder", in_kernel("return x % 2.0")),
    ("a floor division", in_kernel("return x // 2.0")),
    ("an addition in place", in_kernel("x += 1.0")),
    ("a loop without a count", in_kernel("while x > 0.0: x = x - 1.0")),
    ("a loop over elements", in_kernel("for y in x: x = y")),
    ("a fused multiply-add", in_kernel("return fma(x, x, x)")),
    ("a rounding", in_kernel("return round(x)")),
    ("a conversion by another name", in_kernel("return int(x)")),
    ("a number read from text", in_kernel("return np.float64('nan')")),
    ("a complex number", in_kernel("return x * 1j")),
    ("NaN by a constant", in_kernel("return np.nan")),
    ("single precision", in_kernel("return np.float32(x)")),
    ("bits of what has no stated type", in_kernel("return x.view(np.int64)")),
    ("bits as a narrower type", in_kernel("return np.float64(x).view(np.int32)")),
    ("a choice by an array", in_kernel("return np.where(x, x, x)")),
    ("another meaning of a name", in_kernel("sqrt = x")),
    ("another meaning by an argument", "@kernel\ndef price(abs):\n    return abs"),
    ("an import inside", in_kernel("from math import sin")),
    ("a function inside", in_kernel("def inner(y): return y")),
    ("a lambda", in_kernel("return (lambda y: y)(x)")),
    ("a keyword", in_kernel("return sqrt(x=x)")),
    ("a call for its effect", in_kernel("print(x)")),
    ("an assertion", in_kernel("assert x")),
    ("a slice", in_kernel("return x[1:]")),
    ("a default", "@kernel\ndef price(x=1.0):\n    return x"),
    ("fastmath", in_kernel("return x", "njit(fastmath=True)")),
    ("threads", in_kernel("return x", "njit(parallel=True)")),
    ("two decorators", "@kernel\n@inlined\ndef price(x):\n    return x"),
    ("a kernel from elsewhere", "from contracts.merkle import _g"),
    ("a kernel under another name", "from contracts.pricing.kernel import exp as log"),
    ("no decorator", "def price(x):\n    return x"),
    ("a computed constant", "RATE: Final = 1.0 / 3.0"),
    ("a constant that may change", "RATE = 0.3"),
    ("code at import", "print(1)"),
)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(CONTRACTS)))
def test_a_kernel_is_of_allowed_arithmetic_only(path: Path) -> None:
    """One call of libm, and two processors disagree about a price."""
    text = path.read_text()
    if path == INTEGER_KERNEL:
        assert not re.search(r"float|sqrt|\d\.\d| / ", text.split('"""', 2)[2])
        text = text.replace("//", "/")
    assert not list(offences(text))


def test_compiled_code_is_in_kernel_files_alone() -> None:
    """What is compiled elsewhere would pass by the lint. (The Merkle tree's hash has a self-test of its own.)"""
    pricing = [*CONTRACTS.glob("pricing/*.py"), *CONTRACTS.glob("vm/*.py")]
    others = [path for path in pricing if path not in KERNELS]
    assert not [path.name for path in others if re.search(r"njit|contracts\.compiled|numba", path.read_text())]


@pytest.mark.parametrize("text", [text for _, text in PLANTED], ids=[name for name, _ in PLANTED])
def test_the_lint_refuses(text: str) -> None:
    """What it lets through would come in with the next edit."""
    assert list(offences(text))


def test_the_lint_passes_what_is_allowed() -> None:
    """A lint that refuses everything is switched off."""
    lines = ["for i in range(x.size): x[i] = sqrt(abs(x[i])) if x[i] < 0.0 or i == 3 else -x[i] / 2.0"]
    lines += ["return np.int64(np.float64(x).view(np.int64) << 2).view(np.float64), price(x)"]
    assert not [each for line in lines for each in offences(in_kernel(line))]
