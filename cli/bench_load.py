"""The load of a benchmark: trades signed before the clock starts, then posted in a process of its own.

Two ways of posting:

* **Saturation** (closed loop): every connection posts a batch, waits for the receipts of all of it, and posts the
  next. The number of connections bounds what is outstanding, so the network sets the pace.
* **Rate** (open loop): single envelopes at fixed moments, whatever the network does. Latency counts from the moment
  at which an envelope *should* have been posted, so a stall is paid for by every envelope that it delays (no
  coordinated omission).

The generator measures its own processor time, apart from the validators'.
"""

from __future__ import annotations

import resource
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

from cli.client import Connection, Unreachable
from contracts.operations import build_operation
from genesis.envelope import SALT_BYTES, Operation, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey

MEMBERS: Final = tuple(f"B{number}" for number in range(8))
SERIES: Final = "BENCH-60000-C"
PRICE_TICKS: Final = 10
BATCH_ENVELOPES: Final = 100
CONNECTIONS_PER_VALIDATOR: Final = 3
WAIT_MS: Final = 20_000
RATE_WORKERS_MIN: Final = 16
RATE_WORKERS_MAX: Final = 192


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator process is told.

    Attributes:
        urls: The validators'.
        chain_id: Of the envelopes.
        seeds: The members' keys, in the order of `MEMBERS`.
        expires_at_unix_ms: Of every envelope.
        trades: How many to sign.
        seconds: How long to post.
        rate: Envelopes a second, or None for saturation.
    """

    urls: tuple[str, ...]
    chain_id: bytes
    seeds: tuple[bytes, ...]
    expires_at_unix_ms: int
    trades: int
    seconds: float
    rate: int | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the generator measured.

    Attributes:
        submitted: Envelopes posted.
        committed: Envelopes whose receipt says that they were applied.
        failures: How often each refusal or failure was met, by code.
        latencies_s: Of the committed ones.
        elapsed_s: From the first moment to the last answer.
        cpu_s: The generator's processor time while it posted.
    """

    submitted: int
    committed: int
    failures: dict[str, int]
    latencies_s: list[float]
    elapsed_s: float
    cpu_s: float


def generate(pipe: Pipe, load: Load) -> None:
    """The generator process: sign, say ``ready``, wait for the word, post, send back `Loaded`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    wires = presign(load)
    pipe.send("ready")
    pipe.recv()
    pipe.send(post_all(load, wires))
    pipe.close()


def presign(load: Load) -> list[bytes]:
    """The signed trades: each pair of members in turn, sides alternating, so that no position grows."""
    keys = [SigningKey(seed) for seed in load.seeds]
    operations = [_trade(*pair) for pair in _pairs(len(keys))]
    signers = [(keys[buyer], keys[seller]) for buyer, seller in _pairs(len(keys))]
    wires = []
    for number in range(load.trades):
        place = number % len(operations)
        salt = secrets.token_bytes(SALT_BYTES)
        wires.append(sign_envelope(load.chain_id, signers[place], [operations[place]], load.expires_at_unix_ms, salt))
    return wires


def post_all(load: Load, wires: Sequence[bytes]) -> Loaded:
    """Post as `load` says and measure."""
    tally = Tally()
    before = _cpu_s()
    start = time.monotonic()
    if load.rate is None:
        workers = _closed_loop(load, wires, tally, start + load.seconds)
    else:
        workers = _open_loop(load, wires, tally, start, load.rate)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed = (tally.last_answer or time.monotonic()) - start
    return Loaded(
        tally.submitted, len(tally.latencies_s), tally.failures, tally.latencies_s, elapsed, _cpu_s() - before
    )


class Tally:
    """Counts that the posting threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.submitted = 0
        self.failures: dict[str, int] = {}
        self.latencies_s: list[float] = []
        self.last_answer: float | None = None

    def add(self, posted: int, results: Sequence[dict[str, Any]], latency_s: float, answered: float) -> None:
        """Note the answer to one post."""
        committed = sum(each["status"] == "committed" for each in results)
        with self._lock:
            self.submitted += posted
            self.latencies_s += [latency_s] * committed
            if committed:
                self.last_answer = max(answered, self.last_answer or answered)
            for each in results:
                if each["status"] != "committed":
                    self._fail(str(each["code"] or each["status"]), 1)

    def fail(self, posted: int, code: str) -> None:
        """Note a post that was not answered."""
        with self._lock:
            self.submitted += posted
            self._fail(code, posted)

    def _fail(self, code: str, number: int) -> None:
        self.failures[code] = self.failures.get(code, 0) + number


def _closed_loop(load: Load, wires: Sequence[bytes], tally: Tally, until: float) -> list[threading.Thread]:
    batches = [wires[first : first + BATCH_ENVELOPES] for first in range(0, len(wires), BATCH_ENVELOPES)]
    pending = Shared(iter(batches))

    def work(url: str) -> None:
        with Connection(url) as connection:
            while time.monotonic() < until and (batch := pending.take()) is not None:
                _post(connection, batch, tally, time.monotonic())

    urls = load.urls * CONNECTIONS_PER_VALIDATOR
    return [threading.Thread(target=work, args=(url,)) for url in urls]


def _open_loop(load: Load, wires: Sequence[bytes], tally: Tally, start: float, rate: int) -> list[threading.Thread]:
    urls = load.urls
    moments = (start + number / rate for number in count())
    pending = Shared(zip(wires, moments, strict=False))

    def work(url: str) -> None:
        with Connection(url) as connection:
            while (item := pending.take()) is not None:
                wire, moment = item
                time.sleep(max(0.0, moment - time.monotonic()))  # the pace that was asked for
                _post(connection, [wire], tally, moment)

    workers = min(RATE_WORKERS_MAX, max(RATE_WORKERS_MIN, rate // 2))
    return [threading.Thread(target=work, args=(urls[number % len(urls)],)) for number in range(workers)]


def _post(connection: Connection, wires: Sequence[bytes], tally: Tally, since: float) -> None:
    try:
        results = connection.submit(wires, WAIT_MS)
    except (Unreachable, Rejected) as error:
        tally.fail(len(wires), error.code if isinstance(error, Rejected) else "unreachable")
        return
    now = time.monotonic()
    tally.add(len(wires), results, now - since, now)


class Shared:
    """An iterator that several threads take from."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def take(self) -> Any | None:
        """The next item, None when there are no more."""
        with self._lock:
            return next(self._items, None)


def _pairs(members: int) -> list[tuple[int, int]]:
    """Every ordered pair of distinct members, each followed by its reverse."""
    pairs = [(one, two) for one in range(members) for two in range(one + 1, members)]
    return [each for one, two in pairs for each in ((one, two), (two, one))]


def _trade(buyer: int, seller: int) -> Operation:
    fields = {
        "series": SERIES,
        "buyer": f"{MEMBERS[buyer]}/main",
        "seller": f"{MEMBERS[seller]}/main",
        "quantity_lots": "1",
        "price_ticks": str(PRICE_TICKS),
    }
    return build_operation("trade", fields)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
