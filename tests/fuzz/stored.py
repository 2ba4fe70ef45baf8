"""A stored state with something in every table of contracts, and one entry of it that comes from elsewhere."""

from __future__ import annotations

from typing import Any, Final

from contracts.state import restore_state
from tests.contracts.test_contract_shares import at_once, deliver, made
from tests.contracts.world import World


def _stored() -> World:
    """Programs, their holder, an open contract and a closed one."""
    world = made()
    deliver(world, "D1")
    at_once(world, "A1")
    return world


_WORLD: Final = _stored()
STORED: Final = sorted(_WORLD.store.items())
"""(key, value)."""


def restore_entry(data: bytes) -> Any:
    """One stored entry among the others, in the place of the one with its key: a length, the key, the value."""
    key, value = data[1 : 1 + data[0]] if data else b"", data[1 + data[0] :] if data else b""
    return restore_state(_WORLD.document, {**dict(STORED), key: value}.items())


def entry_bytes(entry: tuple[bytes, bytes]) -> bytes:
    """What `restore_entry` takes apart."""
    return bytes([len(entry[0])]) + entry[0] + entry[1]
