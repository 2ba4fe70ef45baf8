"""What executing a trade costs one validator: `apply_block` alone, on blocks of 250 signed-and-verified trades.

The envelopes are made before the clock starts, and their signatures are not part of it. What exists before the clock
starts is kept from the garbage collector (``gc.freeze``), as a node does once it has restored its state. Prints one
JSON document: CPU microseconds a trade (best, median, mean and worst block), entries written a block, and what encoding
the receipts costs besides, which the node does when it stores them.

Run: ``python -m benchmarks.bench_apply [--blocks 200] [--trades 250] [--members 16] [--series 24]``.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import statistics
import time

from contracts.machine import BlockInput, apply_block, genesis_state
from contracts.operations import build_operation
from contracts.receipts import encode_receipt
from contracts.state import State
from genesis.document import ChainClock, GenesisDocument, GenesisRole, GenesisValidator
from genesis.envelope import Envelope, UnverifiedEnvelope
from genesis.hashing import Domain, digest

START_UNIX_MS = 1_700_000_000_000
GOVERNOR = b"g" * 32


def key_of(name: str) -> bytes:
    """A stand-in public key."""
    return digest(Domain.ENVELOPE, name.encode())


def envelope(salt: int, signers: tuple[bytes, ...], operations: tuple[tuple[object, ...], ...], at: int) -> Envelope:
    """An envelope that counts as verified."""
    body_id = digest(Domain.ENVELOPE, salt.to_bytes(8, "big"))
    return Envelope(UnverifiedEnvelope(b"", body_id, signers, operations, at + 60_000, ()))


def prepared_state(members: int, series: int) -> State:
    """A chain with its members funded and its series listed."""
    validator = GenesisValidator("v0", b"v" * 32, 1, "127.0.0.1:1", b"certificate")
    role = GenesisRole("all", GOVERNOR, ("governor", "issuer", "oracle"))
    clock = ChainClock(0, START_UNIX_MS - 10_000, 1)
    state = genesis_state(GenesisDocument("bench", (validator,), (role,), clock))
    texts: list[tuple[str, dict[str, str]]] = [
        ("asset.register", {"asset": "BTC", "decimals": "8"}),
        (
            "index.register",
            {
                "index": "BTC_USD",
                "tick_decimals": "2",
                "price_min_ticks": "2000000",
                "price_max_ticks": "20000000",
                "oracle_quorum": "1",
            },
        ),
    ]
    for n in range(members):
        account = f"M{n}/main"
        texts.append(("member.admit", {"member": f"M{n}", "key": key_of(f"M{n}").hex()}))
        texts.append(("asset.issue", {"asset": "BTC", "account": account, "amount_minor": str(10**15)}))
    for n in range(series):
        texts.append(("series.list", series_fields(n)))
    operations = tuple(build_operation(kind, fields) for kind, fields in texts)
    setup = envelope(0, (GOVERNOR,), operations, START_UNIX_MS - 5_000)
    output = apply_block(state, BlockInput(1, START_UNIX_MS - 5_000, [setup]))
    if output.receipts[0].code:
        raise SystemExit(output.receipts[0].message)
    return state


def series_name(n: int) -> str:
    """The name of the n-th series."""
    return f"BTC-17AUG26-{60_000 + 250 * n}-{'CP'[n % 2]}"


def series_fields(n: int) -> dict[str, str]:
    """The terms of the n-th series, as text."""
    return {
        "series": series_name(n),
        "index": "BTC_USD",
        "strike_ticks": str(6_000_000 + 25_000 * n),
        "expiry_unix_ms": str(START_UNIX_MS + 10**9),
        "right": "CP"[n % 2],
        "settlement": "inverse",
        "asset": "BTC",
        "lot_minor": "10000000",
        "premium_tick_minor": "1000",
    }


def trade_blocks(blocks: int, trades: int, members: int, series: int) -> list[BlockInput]:
    """Blocks 100 ms apart, each trade its own envelope between two random members in a random series."""
    entropy = random.Random(1)
    made = []
    for b in range(blocks):
        now = START_UNIX_MS + 100 * b
        envelopes = []
        for t in range(trades):
            buyer, seller = entropy.sample(range(members), 2)
            name, lots, price = series_name(entropy.randrange(series)), entropy.randint(1, 50), entropy.randint(1, 90)
            operation = (9, name, f"M{buyer}/main", f"M{seller}/main", lots, price)
            signers = (key_of(f"M{buyer}"), key_of(f"M{seller}"))
            envelopes.append(envelope(1 + b * trades + t, signers, (operation,), now))
        made.append(BlockInput(b + 2, now, envelopes))
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--trades", type=int, default=250)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--series", type=int, default=24)
    chosen = parser.parse_args()
    state = prepared_state(chosen.members, chosen.series)
    made = trade_blocks(chosen.blocks, chosen.trades, chosen.members, chosen.series)
    gc.freeze()
    spans, writes, encoding, refused = [], 0, 0.0, 0
    for block in made:
        began = time.process_time()
        output = apply_block(state, block)
        spans.append((time.process_time() - began) * 1e6 / chosen.trades)
        began = time.process_time()
        for receipt in output.receipts:
            encode_receipt(receipt)
        encoding += time.process_time() - began
        writes += len(output.writes)
        refused += sum(bool(receipt.code) for receipt in output.receipts) + len(output.refused)
    trades = chosen.blocks * chosen.trades
    print(
        json.dumps(
            {
                "us_per_trade_best_block": round(min(spans), 2),
                "us_per_trade_median": round(statistics.median(spans), 2),
                "us_per_trade_mean": round(statistics.fmean(spans), 2),
                "us_per_trade_worst_block": round(max(spans), 2),
                "us_per_receipt_encoded": round(encoding * 1e6 / trades, 2),
                "writes_per_block": round(writes / chosen.blocks, 1),
                "not_applied": refused,
                "blocks": chosen.blocks,
                "trades_per_block": chosen.trades,
                "members": chosen.members,
                "series": chosen.series,
                "python": platform.python_version(),
                "machine": platform.machine(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
