"""How every compiled function of pricing and of the contract machine is made: one set of options, one cache.

A kernel is written in plain Python and compiled by Numba, without fastmath and without threads, so that the compiled
and the interpreted function give the same bits (``NUMBA_DISABLE_JIT=1`` interprets). Kernels live in files whose names
end in ``kernel.py``; `tests/contracts/test_kernel_lint.py` holds their arithmetic to what IEEE 754 rounds in one way.

Numba's cache notices an edit of a function's own file, not of a function that it calls from another. So each function
is cached in a folder named by a digest of its bytecode, its constants and, in turn, of every kernel that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from numba import njit
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features as numba_cpu_features

CACHE_FOLDER: Final = "kernels"
KEY_BYTES: Final = 12
config: Final[Any] = numba_config
"""Numba fills it with its settings as attributes, which a type checker cannot see."""
cpu_features: Final[Callable[[], str]] = numba_cpu_features


def kernel(function: Callable[..., Any]) -> Any:
    """`function`, compiled at its first call for the types it is given, without the interpreter's lock."""
    return _compiled(function, forceinline=False)


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a small function that is to vanish in its callers, whose loops can then be vectorised."""
    return _compiled(function, forceinline=True)


def key(function: Callable[..., Any]) -> bytes:
    """What the result of compiling `function` depends on: its code, its constants, and the keys of what it calls."""
    code = function.__code__
    parts = [code.co_code, repr(code.co_consts).encode(), repr(code.co_names).encode(), repr(code.co_varnames).encode()]
    parts += [_key_of_value(function.__globals__[name]) for name in code.co_names if name in function.__globals__]
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()[:KEY_BYTES]


def _key_of_value(value: Any) -> bytes:
    """The part of one global name: a kernel's key, a constant's exact text, or the name of what is not ours."""
    if hasattr(value, "py_func"):
        return key(value.py_func) + repr(value.targetoptions).encode()
    return repr(value if isinstance(value, int | float) else getattr(value, "__name__", type(value).__name__)).encode()


def _compiled(function: Callable[..., Any], *, forceinline: bool) -> Any:
    if config.DISABLE_JIT:
        return function
    _use_whole_vectors()
    compiled = njit(nogil=True, error_model="numpy", forceinline=forceinline)(function)
    given = config.CACHE_DIR
    beside = function.__code__.co_filename.rpartition("/")[0] + "/__pycache__"
    config.CACHE_DIR = f"{given or beside}/{CACHE_FOLDER}/{key(function).hex()}"
    try:
        compiled.enable_caching()
    finally:
        config.CACHE_DIR = given
    return compiled


def _use_whole_vectors() -> None:
    """Have 512-bit vectors used whole where the processor has them, unless the user has chosen for Numba.

    LLVM halves them on Intel's processors, whose first ones slowed down for them; a price then takes a third longer.
    The width changes no bit: every lane does what the scalar code does.
    """
    if config.CPU_NAME is None and config.CPU_FEATURES is None:
        features = cpu_features()
        if "+avx512f" in features.split(","):
            config.CPU_FEATURES = f"{features},-prefer-256-bit"
