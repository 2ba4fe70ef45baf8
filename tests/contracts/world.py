"""A small chain for tests: named keys, envelopes without the cost of signing, blocks a second apart."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Any

from contracts import queries
from contracts.conservation import audit
from contracts.machine import BlockInput, BlockOutput, apply_block, genesis_state, restore_state
from contracts.operations import build_operation
from contracts.receipts import Receipt
from contracts.state import State
from genesis.document import ChainClock, GenesisDocument, GenesisRole, GenesisValidator
from genesis.envelope import Envelope, UnverifiedEnvelope
from genesis.params import ChainParams

START_UNIX_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
EXPIRY_UNIX_MS = START_UNIX_MS + HOUR_MS
PARAMS = ChainParams(merkle_depth=8)


def key_of(name: str) -> bytes:
    """A stand-in public key: these envelopes are taken as verified."""
    return blake2b(name.encode(), digest_size=32).digest()


def document(params: ChainParams = PARAMS, clock: ChainClock | None = None, oracles: int = 3) -> GenesisDocument:
    """A genesis document with one validator and the usual roles."""
    roles = [
        GenesisRole("governor", key_of("governor"), ("governor",)),
        GenesisRole("issuer", key_of("issuer"), ("issuer",)),
    ]
    roles += [GenesisRole(f"oracle{n}", key_of(f"oracle{n}"), ("oracle",)) for n in range(oracles)]
    return GenesisDocument(
        "test",
        (GenesisValidator("v0", key_of("v0"), 1, "127.0.0.1:1", b"certificate"),),
        tuple(roles),
        clock or ChainClock(0, START_UNIX_MS - 1_000, 1),
        params,
    )


class World:
    """A chain of one state machine; every block is audited from scratch and mirrored into a store."""

    def __init__(self, genesis: GenesisDocument | None = None, *, audited: bool = True) -> None:
        self.document = genesis or document()
        self.state: State = genesis_state(self.document)
        self.store: dict[bytes, bytes] = dict(self.state.entries())
        self.audited = audited
        self.now_unix_ms = START_UNIX_MS
        self.output: BlockOutput | None = None
        self._salt = 0

    def key(self, name: str) -> bytes:
        """The public key of a name."""
        return key_of(name)

    def envelope(
        self, signers: str, *operations: tuple[Any, ...], expires_in_ms: int = 60_000, salt: int | None = None
    ) -> Envelope:
        """An envelope signed by the named keys (``"M0 M1"``)."""
        self._salt += 1
        name = f"envelope {self._salt if salt is None else salt}"
        return Envelope(
            UnverifiedEnvelope(
                b"",
                key_of(name),
                tuple(map(self.key, signers.split())),
                operations,
                self.now_unix_ms + expires_in_ms,
                (),
            )
        )

    def block(self, *envelopes: Envelope, at_unix_ms: int | None = None, step_ms: int = 1_000) -> BlockOutput:
        """Apply the next block and mirror its writes."""
        if at_unix_ms is not None:
            self.now_unix_ms = at_unix_ms
        output = apply_block(self.state, BlockInput(self.state.height + 1, self.now_unix_ms, envelopes))
        self.now_unix_ms += step_ms
        for key, value in output.writes:
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value
        if self.audited:
            assert audit(self.state) == output.alarms == ()
        self.output = output
        return output

    def expire(self, after_ms: int, step_ms: int = 1_000) -> BlockOutput:
        """A block at `EXPIRY_UNIX_MS`, unless the chain is past it, and one `after_ms` later."""
        if self.state.time_unix_ms < EXPIRY_UNIX_MS:
            self.block(at_unix_ms=EXPIRY_UNIX_MS)
        return self.block(at_unix_ms=EXPIRY_UNIX_MS + after_ms, step_ms=step_ms)

    def send(self, signers: str, *operations: tuple[Any, ...]) -> Receipt:
        """One envelope in a block of its own; its receipt."""
        (receipt,) = self.block(self.envelope(signers, *operations)).receipts
        return receipt

    def do(self, signers: str, kind: str, **fields: int | str | bytes) -> Receipt:
        """One operation that must apply."""
        receipt = self.try_to(signers, kind, **fields)
        assert receipt.code == "", receipt
        return receipt

    def try_to(self, signers: str, kind: str, **fields: int | str | bytes) -> Receipt:
        """One operation, whatever comes of it."""
        return self.send(signers, operation(kind, **fields))

    def oracles_say(self, price_ticks: int, instant_unix_ms: int, oracles: str = "oracle0 oracle1 oracle2") -> None:
        """One report, signed by several oracles."""
        self.do(oracles, "oracle.sample", index="BTC_USD", instant_unix_ms=instant_unix_ms, price_ticks=price_ticks)

    def free(self, account: str, asset: str = "BTC") -> int:
        """An account's free units."""
        return int(queries.account(self.state, account)["balances"].get(asset, {"free_minor": 0})["free_minor"])

    def locked(self, account: str, asset: str = "BTC") -> int:
        """An account's collateral."""
        return int(queries.account(self.state, account)["balances"].get(asset, {"locked_minor": 0})["locked_minor"])

    def restored(self) -> State:
        """The state that a restarted node would build from its store."""
        return restore_state(self.document, reversed(list(self.store.items())))


def operation(kind: str, **fields: int | str | bytes) -> tuple[Any, ...]:
    """The wire form of an operation, from plain values."""
    return build_operation(
        kind, {name: each.hex() if isinstance(each, bytes) else str(each) for name, each in fields.items()}
    )


def set_up(world: World, members: int = 3, deposit_minor: int = 10**12) -> World:
    """Members M0.., BTC with eight decimals and a deposit each, the index BTC_USD in cents within [20,000, 200,000]."""
    world.do("governor", "asset.register", asset="BTC", decimals=8)
    world.do(
        "governor",
        "index.register",
        index="BTC_USD",
        tick_decimals=2,
        price_min_ticks=2_000_000,
        price_max_ticks=20_000_000,
        oracle_quorum=2,
    )
    for n in range(members):
        world.do("governor", "member.admit", member=f"M{n}", key=key_of(f"M{n}"))
        world.do("issuer", "asset.issue", asset="BTC", account=f"M{n}/main", amount_minor=deposit_minor)
    return world


def list_series(world: World, series: str, *, signers: str = "governor", **terms: int | str) -> Receipt:
    """List ``BTC-...-STRIKE-RIGHT`` in dollars, inverse, a lot of 0.1 BTC; any term may be given."""
    _rest, strike, right = series.rsplit("-", 2)
    usual: dict[str, int | str] = {
        "series": series,
        "index": "BTC_USD",
        "strike_ticks": int(strike) * 100,
        "expiry_unix_ms": EXPIRY_UNIX_MS,
        "right": right,
        "settlement": "inverse",
        "asset": "BTC",
        "lot_minor": 10_000_000,
        "premium_tick_minor": 1_000,
    }
    return world.try_to(signers, "series.list", **{**usual, **terms})


def trade_of(series: str, buyer: str, seller: str, lots: int, price_ticks: int = 20) -> tuple[Any, ...]:
    """A trade operation between two members' main accounts."""
    return operation(
        "trade",
        series=series,
        buyer=f"{buyer}/main",
        seller=f"{seller}/main",
        quantity_lots=lots,
        price_ticks=price_ticks,
    )


def with_params(**changes: int) -> GenesisDocument:
    """The usual document with other parameters."""
    return document(replace(PARAMS, **changes))


def moved(state: State) -> dict[bytes, bytes]:
    """Every entry but those that any executed envelope changes: the meta entry and the replay memory."""
    return {key: value for key, value in state.entries() if key[:1] not in (b"\x01", b"\x0d", b"\x80")}
