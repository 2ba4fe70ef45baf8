"""What the compiler has made of the kernels: vectors, and no fused multiply-add.

A fused multiply-add rounds once where the kernel's source, which has none, rounds twice. A processor that has the
instruction would then give other bits than one that has not. Every AArch64 has it, and its compilers like to use it.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FUSED: Final = re.compile(r"^\s+(?:v?fn?m(?:add|sub)|fn?m(?:la|ls|ad|sb))\w*\s.*$", re.MULTILINE)
"""On x86-64 vfmadd213sd and the like; on AArch64 fmadd and fmsub, in NEON fmla, in SVE fmad as well, some negated."""
VECTOR: Final = re.compile(r"^\s+(?:v?(?:add|mul|div)pd\s|f(?:add|mul|div)\s+(?:v\d+\.2d|z\d+\.d)).*$", re.MULTILINE)
"""Arithmetic on several float64 at once."""


@dataclass(frozen=True)
class Findings:
    """How many kernels there are, how many of them work on vectors, and each fused multiply-add as "kernel: line"."""

    kernels: int
    vectorised: int
    fused: tuple[str, ...]

    def __str__(self) -> str:
        fused = f"{len(self.fused)} fused multiply-adds" if self.fused else "none fused"
        return f"{self.kernels} kernels, {self.vectorised} in vectors, {fused}"


def kernels() -> Iterator[tuple[str, str]]:
    """Name and assembly of every kernel that this process has compiled for some types, with what is inlined into it.

    Raises:
        UserWarning: A kernel came from the cache, which keeps no assembly.
    """
    for module in [module for name, module in sorted(sys.modules.items()) if name.startswith("contracts.")]:
        for name, value in vars(module).items():
            own = hasattr(value, "py_func") and value.py_func.__module__ == module.__name__
            if own and not value.targetoptions.get("forceinline"):
                with warnings.catch_warnings(action="error"):
                    yield from ((f"{module.__name__}.{name}", text) for text in value.inspect_asm().values())


def findings() -> Findings:
    """The machine code of every kernel that has been compiled here, looked through."""
    found = list(kernels())
    fused = tuple(f"{name}: {line.strip()}" for name, text in found for line in FUSED.findall(text))
    return Findings(len(found), sum(VECTOR.search(text) is not None for _, text in found), fused)
