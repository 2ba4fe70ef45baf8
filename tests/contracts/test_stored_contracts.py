"""Stored rows of contracts that do not go together: a damaged ledger stops a node at its start, with a reason."""

from __future__ import annotations

import random
from typing import Any

from contracts.machine import restore_state
from genesis.codec import decode, encode
from genesis.errors import Rejected
from tests.contracts.test_contract_shares import at_once, deliver, made

ODD: tuple[Any, ...] = (0, 1, -1, 2**40, None, True, "M0", "x", b"z", b"\0" * 32, (), ((0, 1),), ((0, None),), ("a",))
CASES = 1_500


def changed(value: Any, dice: random.Random) -> Any:
    """The value with one thing in it left out, doubled or replaced by something odd."""
    if type(value) is not tuple or not value or dice.random() < 0.2:
        return dice.choice(ODD)
    parts, at, what = list(value), dice.randrange(len(value)), dice.random()
    if what < 0.15:
        del parts[at]
    elif what < 0.3:
        parts.insert(at, parts[at])
    else:
        parts[at] = changed(parts[at], dice)
    return tuple(parts)


def test_rows_that_do_not_go_together_are_refused_and_never_crash_the_start() -> None:
    """What follows from contracts is computed before the root is compared, from rows that may be anything."""
    world = made()
    deliver(world, "D1")
    at_once(world, "A1")
    rows = [(key, value) for key, value in sorted(world.store.items()) if key[:1] in (b"\x16", b"\x17", b"\x18")]
    dice, codes = random.Random(1), list[str]()
    for _ in range(CASES):
        key, value = dice.choice(rows)
        fields = decode(value, lambda _value: None, size_max=2**20)
        try:
            restore_state(world.document, {**world.store, key: encode(changed(fields, dice))}.items())
        except Rejected as error:
            codes.append(error.code)
    assert set(codes) == {"bad_state"}
    assert CASES // 4 < len(codes) < CASES
