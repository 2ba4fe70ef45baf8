"""The Ed25519 rule of `genesis.signing`, written out in plain integers: slow, independent of libsodium, for tests.

Source: RFC 8032 section 5.1 (curve, decoding, verification); the three conditions are numbered as in `genesis.signing`.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha512

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
SCALAR_BITS = 253  # of L
D = -121665 * pow(121666, -1, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
"""Affine coordinates; the neutral element is (0, 1)."""

NEUTRAL: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    """The complete twisted Edwards addition law."""
    product = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


@cache
def doublings(point: Point) -> tuple[Point, ...]:
    """The point, twice the point, four times the point, and so on: one for each bit of a scalar."""
    found = [point]
    while len(found) < SCALAR_BITS:
        found.append(add(found[-1], found[-1]))
    return tuple(found)


def times_cofactor(point: Point) -> Point:
    """Eight times the point, which is neutral for a point of small order."""
    for _ in range(3):
        point = add(point, point)
    return point


def multiply(scalar: int, point: Point) -> Point:
    """Double and add, for a scalar from 0 to below 2^SCALAR_BITS."""
    result = NEUTRAL
    for at, power in enumerate(doublings(point)):
        if scalar >> at & 1:
            result = add(result, power)
    return result


def decompress(data: bytes) -> Point | None:
    """The point of a canonical encoding, or None."""
    sign, y = data[31] >> 7, int.from_bytes(data, "little") & (2**255 - 1)
    if y >= P:
        return None
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if (x * x - x_squared) % P:
        x = x * SQRT_MINUS_1 % P
    if (x * x - x_squared) % P or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x), y


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def verdict(public_key: bytes, message: bytes, signature: bytes) -> str:
    """``valid``, or the first condition that the signature breaks."""
    if len(public_key) != 32 or len(signature) != 64:
        return "length"
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return "1: S is not below L"
    a, r = decompress(public_key), decompress(signature[:32])
    if a is None or r is None:
        return "2: not a canonical point"
    if times_cofactor(a) == NEUTRAL or times_cofactor(r) == NEUTRAL:
        return "2: small order"
    k = int.from_bytes(sha512(signature[:32] + public_key + message).digest(), "little") % L
    assert BASE is not None
    return "valid" if multiply(s, BASE) == add(r, multiply(k, a)) else "3: the equation does not hold"
