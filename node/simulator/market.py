"""The load of a simulated market: members, money, series, trades, samples of an index, expiries; a little of each.

Envelopes are really signed. Some orders cannot be filled, and some envelopes come again in a later batch: both are
everyday traffic, which the state machine must refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import Any, Final

from contracts.operations import build_operation
from genesis.envelope import sign_envelope
from genesis.signing import SigningKey

MEMBERS: Final = ("M0", "M1", "M2", "M3")
ORACLES: Final = ("oracle0", "oracle1", "oracle2")
ROLES: Final = ("governor", "issuer", *ORACLES)
ENVELOPES_PER_BATCH_MAX: Final = 3
LIFETIME_MS: Final = 60_000
EXPIRY_EVERY_MS: Final = 1_500
RECENT_KEPT: Final = 32
REPLAYED: Final = 0.15
DEPOSIT_MINOR: Final = 10**10

Operation = tuple[Any, ...]


def role_keys() -> dict[str, SigningKey]:
    """The keys that hold roles from genesis, by name."""
    return {name: _key(name) for name in ROLES}


def _key(name: str) -> SigningKey:
    return SigningKey(blake2b(name.encode(), digest_size=32).digest())


class Market:
    """Makes envelopes; the first ones set the market up."""

    def __init__(self, chain_id: bytes, chance: Random, origin_unix_ms: int) -> None:
        self._chain_id = chain_id
        self._chance = chance
        self._origin_unix_ms = origin_unix_ms
        self._keys = role_keys() | {name: _key(name) for name in MEMBERS}
        self._set_up = [_operations(*each) for each in _setting_up(self._keys)]
        self._series: list[str] = []
        self._recent: list[bytes] = []
        self._salt = 0

    @property
    def is_set_up(self) -> bool:
        """Whether the envelopes that set the market up have been made."""
        return not self._set_up

    def member(self) -> tuple[str, SigningKey]:
        """One of the members, with its key."""
        return MEMBERS[0], self._keys[MEMBERS[0]]

    def sign(self, keys: Sequence[SigningKey], operation: Operation, chain_unix_ms: int) -> bytes:
        """An envelope of somebody's who is no member of the market."""
        self._salt += 1
        salt = self._salt.to_bytes(16, "big")
        return sign_envelope(self._chain_id, keys, [operation], chain_unix_ms + LIFETIME_MS, salt)

    def next_envelopes(self, chain_unix_ms: int) -> list[bytes]:
        """One to three envelopes, some of them seen before; the first batch sets everything up."""
        if self._set_up:
            first, self._set_up = self._set_up, []
            return [self._envelope(signers, operations, chain_unix_ms) for signers, operations in first]
        wanted = 1 + int(self._chance.random() * ENVELOPES_PER_BATCH_MAX)
        return list(dict.fromkeys(self._old_or_new(chain_unix_ms) for _ in range(wanted)))

    def _old_or_new(self, chain_unix_ms: int) -> bytes:
        if self._recent and self._chance.random() < REPLAYED:
            return self._recent[int(self._chance.random() * len(self._recent))]
        signers, operations = self._order(chain_unix_ms)
        return self._envelope(signers, operations, chain_unix_ms)

    def _order(self, chain_unix_ms: int) -> tuple[str, list[Operation]]:
        """What somebody wants."""
        chance = self._chance
        buyer, seller = chance.sample(MEMBERS, 2)
        kind = chance.random()
        if kind < 0.1 or not self._series:
            return "governor", [self._listing(chain_unix_ms)]
        if kind < 0.4:
            amount = 1 + int(chance.random() * DEPOSIT_MINOR / 4)
            accounts = {"source": f"{buyer}/main", "destination": f"{seller}/main"}
            return buyer, [_operation("transfer", {**accounts, "asset": "BTC", "amount_minor": amount})]
        if kind < 0.6:
            price = 5_000_000 + int(chance.random() * 500_000)
            sample = {"index": "BTC_USD", "instant_unix_ms": chain_unix_ms, "price_ticks": price}
            return " ".join(ORACLES[: 2 + int(chance.random() * 2)]), [_operation("oracle.sample", sample)]
        terms = {
            "series": self._series[-1 - int(chance.random() * min(4, len(self._series)))],
            "buyer": f"{buyer}/main",
            "seller": f"{seller}/main",
            "quantity_lots": 1 + int(chance.random() * 20),
            "price_ticks": 1 + int(chance.random() * 50),
        }
        return f"{buyer} {seller}", [_operation("trade", terms)]

    def _listing(self, chain_unix_ms: int) -> Operation:
        """A series of the next expiry."""
        number = (chain_unix_ms - self._origin_unix_ms) // EXPIRY_EVERY_MS + 2
        expiry_unix_ms = self._origin_unix_ms + number * EXPIRY_EVERY_MS
        strike, right = 50_000 + 1_000 * int(self._chance.random() * 5), "CP"[int(self._chance.random() * 2)]
        series = f"BTC-{number}-{strike}-{right}"
        if series not in self._series:
            self._series.append(series)
        terms = {"series": series, "index": "BTC_USD", "strike_ticks": strike * 100, "expiry_unix_ms": expiry_unix_ms}
        terms |= {"right": right, "settlement": "inverse", "asset": "BTC", "lot_minor": 10_000_000}
        return _operation("series.list", {**terms, "premium_tick_minor": 1_000})

    def _envelope(self, signers: str, operations: list[Operation], chain_unix_ms: int) -> bytes:
        self._salt += 1
        keys = [self._keys[name] for name in signers.split()]
        salt = self._salt.to_bytes(16, "big")
        wire = sign_envelope(self._chain_id, keys, operations, chain_unix_ms + LIFETIME_MS, salt)
        self._recent.append(wire)
        del self._recent[:-RECENT_KEPT]
        return wire


def _setting_up(keys: Mapping[str, SigningKey]) -> list[tuple[str, list[tuple[str, Mapping[str, Any]]]]]:
    """Asset, index, members, their money."""
    band = {"price_min_ticks": 2_000_000, "price_max_ticks": 20_000_000, "oracle_quorum": 2}
    registry: list[tuple[str, Mapping[str, Any]]] = [
        ("asset.register", {"asset": "BTC", "decimals": 8}),
        ("index.register", {"index": "BTC_USD", "tick_decimals": 2, **band}),
        *(("member.admit", {"member": name, "key": keys[name].public_key.hex()}) for name in MEMBERS),
    ]
    deposits: list[tuple[str, Mapping[str, Any]]] = [
        ("asset.issue", {"asset": "BTC", "account": f"{name}/main", "amount_minor": DEPOSIT_MINOR}) for name in MEMBERS
    ]
    return [("governor", registry), ("issuer", deposits)]


def _operations(signers: str, each: list[tuple[str, Mapping[str, Any]]]) -> tuple[str, list[Operation]]:
    return signers, [_operation(kind, fields) for kind, fields in each]


def _operation(kind: str, fields: Mapping[str, Any]) -> Operation:
    return build_operation(kind, {name: str(value) for name, value in fields.items()})
