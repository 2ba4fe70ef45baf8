"""Checks many signatures in one go, off the interpreter lock.

Rules:

1. The verdict on each signature is libsodium's, from the function by which `genesis.signing` checks a single one: one
   rule on every code path. Nothing is computed here.
2. `self_test` runs before a node takes part: PyNaCl promises nothing about where it keeps libsodium.

Theory of operation. A call through PyNaCl gives the interpreter lock away while libsodium computes, and has to win it
back afterwards, once for each signature: with the event loop at work that is a fight every 55 microseconds, in which
both sides lose time. Here one compiled loop calls the function by its address for a whole batch, and the lock changes
hands once. Keys, signatures and messages lie one behind the other in three arrays; `ends` says where each message ends.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
from llvmlite import ir
from nacl import _sodium
from numba import njit, types
from numba.extending import intrinsic

from genesis import signing
from genesis.errors import invariant
from genesis.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Signed, SigningKey

_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_ENDS: Final = types.Array(types.uint64, 1, "C")


def _declare(_context: Any, _function: Any, _signature: Any, _message: Any, _length: Any, _key: Any) -> Any:
    """``int crypto_sign_verify_detached(signature, message, length, key)`` at the address `function`."""

    def generate(_context: Any, builder: Any, _types: Any, arguments: Any) -> Any:
        pointer, length, status = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(32)
        prototype = ir.FunctionType(status, [pointer, pointer, length, pointer]).as_pointer()
        function, signature, message, size, key = arguments
        signature, message, key = (builder.inttoptr(each, pointer) for each in (signature, message, key))
        return builder.call(builder.inttoptr(function, prototype), [signature, message, size, key])

    return types.int32(types.uint64, types.uint64, types.uint64, types.uint64, types.uint64), generate


_status: Any = intrinsic(_declare)


@njit(types.int64(types.uint64, _BYTES, _BYTES, _BYTES, _ENDS), nogil=True, cache=True)
def _first_refused(function: Any, keys: Any, signatures: Any, messages: Any, ends: Any) -> Any:
    """The place of the first signature that libsodium refuses, or their number."""
    key, signature = np.uint64(keys.ctypes.data), np.uint64(signatures.ctypes.data)
    first, begin = np.uint64(messages.ctypes.data), np.uint64(0)
    for place in range(ends.size):
        if _status(function, signature, first + begin, ends[place] - begin, key) != 0:
            return place
        key += np.uint64(PUBLIC_KEY_BYTES)
        signature += np.uint64(SIGNATURE_BYTES)
        begin = ends[place]
    return ends.size


def _libsodium() -> int:
    """The address of the function in the copy of libsodium that PyNaCl carries and uses itself."""
    address = ctypes.cast(ctypes.CDLL(_sodium.__file__).crypto_sign_verify_detached, ctypes.c_void_p).value
    invariant(address is not None, "libsodium has crypto_sign_verify_detached")
    return address or 0


_FUNCTION: Final = _libsodium()


def first_invalid(items: Iterable[Signed]) -> int | None:
    """The position of the first invalid signature, or None when all are valid: `genesis.signing.first_invalid`."""
    signed = list(items)
    if not signed or not all(map(_is_regular, signed)):
        return signing.first_invalid(signed)
    keys, messages, signatures = zip(*signed, strict=True)
    ends = np.fromiter(accumulate(map(len, messages)), np.uint64, len(signed))
    place: int = _first_refused(_FUNCTION, _joined(keys), _joined(signatures), _joined(messages), ends)
    return place if place < len(signed) else None


def _is_regular(signed: Signed) -> bool:
    key, _message, signature = signed
    return len(key) == PUBLIC_KEY_BYTES and len(signature) == SIGNATURE_BYTES


def _joined(parts: Sequence[bytes]) -> Any:
    return np.frombuffer(b"".join(parts), np.uint8)


def self_test() -> None:
    """Check that the compiled loop accepts right signatures and finds a wrong one at every place.

    Raises:
        InvariantViolation: It does not.
    """
    keys = [SigningKey(bytes([number]) * signing.SEED_BYTES) for number in range(4)]
    right = [(key.public_key, bytes(number), key.sign(bytes(number))) for number, key in enumerate(keys)]
    invariant(first_invalid(right) is None, "the compiled loop accepts right signatures")
    for place, (key, message, signature) in enumerate(right):
        wrong = (key, message + b"x", signature)
        found = first_invalid([*right[:place], wrong, *right[place + 1 :]])
        invariant(found == place, "the compiled loop finds a wrong signature", place=place, found=found)
