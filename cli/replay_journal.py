"""What a replay has sent, written down before it is sent: the same replay, run again, goes on and does nothing twice.

Rules:

1. ``DIR/replays/INDEX-EXPIRY.jsonl`` is the journal of one expiry's replay on one chain: a line each for what is
   announced, in order, on the disk before anything of it is sent. The first names the chain and the plan.
2. The envelope of an act follows from the plan's digest, from what the act is, and from the expiry of the envelope,
   which the journal has. Sent again it is the same envelope, and the chain executes that at most once. It gets another
   expiry, and so another id, only when the chain has said that the first one has expired and there is no receipt of it.
3. What is done, that is, sent with a known outcome, is a beginning of the schedule's order; it is not sent again.
4. A line that was cut off by a crash announces nothing that was sent; it is dropped.
5. One replay at a time runs in a directory, and none begins while another is under way that has not ended: of two, each
   would take the other's money for its own.

A journal of another chain (a testnet that was made anew in its directory) counts for nothing. One of another plan, of
another tape, index file or settlement price, counts as soon as its deposits were announced: then nothing else may be
replayed through that expiry.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cli.named_files import LARGE_BYTES_MAX
from cli.replay_plan import MEMBERS, Plan
from genesis.codec import encode
from genesis.envelope import SALT_BYTES
from genesis.errors import Rejected
from genesis.hashing import Domain, digest
from node.files import make_private_directory, sync_directory
from node.small_files import read_small

DIRECTORY: Final = "replays"
VERSION: Final = 1
DEPOSIT: Final = -1
"""The place of the deposits, which come before the schedule's first item."""


@dataclass(frozen=True, slots=True)
class Funded:
    """Each member's balance before its deposit, and the deposit, both in minor units."""

    balances_minor: tuple[int, ...]
    deposits_minor: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What the chain held once the expiry was settled: each member's balance in minor units, and the agreed state."""

    balances_minor: tuple[int, ...]
    height: int
    state_root: str


@dataclass(slots=True)
class Driven:
    """What was sent, by this run and those before it.

    Attributes:
        items: How many items of the schedule are done.
        total: How many it has.
        trades: The number of trades that were applied.
        samples: Instants whose sample at least one oracle had applied.
        refusals: Instants of which no oracle's sample was applied, by the code of the refusal: too old to bear on any
            price after a late start, or known already from the replay of another expiry.
    """

    items: int = 0
    total: int = 0
    trades: int = 0
    samples: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def samples_refused(self) -> int:
        """Instants of which no oracle's sample was applied."""
        return self.refusals.total()


class Journal:
    """One replay's journal; `open_journal` makes it, which also holds the lock.

    Attributes:
        funded: What was announced of the deposits, None before.
        driven: What is done.
        ended: What the settled chain held, None before.
    """

    def __init__(self, path: Path, file: int, plan_digest: bytes, total: int) -> None:
        self.funded: Funded | None = None
        self.driven = Driven(total=total)
        self.ended: Ended | None = None
        self._path = path
        self._file = file
        self._plan_digest = plan_digest
        self._expiries: dict[int, int] = {}

    @property
    def sent_to(self) -> int:
        """How many items of the schedule, from its first, have been sent or are about to be."""
        return max([self.driven.items, *(place + 1 for place in self._expiries)])

    def salt(self, what: str, number: int) -> bytes:
        """The salt of an act's envelope (rule 2)."""
        return digest(Domain.TAPE, encode([self._plan_digest, what, number]))[:SALT_BYTES]

    def expires_at_unix_ms(self, place: int) -> int | None:
        """The expiry under which the item at that place of the schedule was announced, None if it was not."""
        return self._expiries.get(place)

    def check_alone(self, chain_id: bytes) -> None:
        """Refuse to begin beside a replay of this chain that has begun and not ended (rule 5).

        Args:
            chain_id: The chain's.

        Raises:
            Rejected: ``conflicting_setup``, naming the other's expiry.
        """
        for path in sorted(self._path.parent.glob("*.jsonl")):
            if path == self._path:
                continue
            data = read_small(path, LARGE_BYTES_MAX)
            is_here = b'"chain_id":"%s"' % chain_id.hex().encode() in data
            if is_here and b'"deposits_minor":' in data and b'"ended_minor":' not in data:
                raise Rejected(
                    "conflicting_setup",
                    f"The replay {path.stem} is under way on this testnet: go on with that one until it has ended.",
                )

    def fund(self, funded: Funded) -> None:
        """Announce the deposits."""
        self.funded = funded
        self._write({"balances_minor": funded.balances_minor, "deposits_minor": funded.deposits_minor})

    def announce(self, first: int, count: int, expires_at_unix_ms: int) -> None:
        """Announce `count` items from a place on, in envelopes of that expiry."""
        self._expiries.update(dict.fromkeys(range(first, first + count), expires_at_unix_ms))
        self._write({"first": first, "count": count, "expires_at_unix_ms": expires_at_unix_ms})

    def expired(self, places: Iterable[int]) -> None:
        """The envelopes of these items are dead; they are to be announced anew."""
        for place in places:
            del self._expiries[place]

    def done(self) -> None:
        """`driven` has moved on."""
        driven = self.driven
        self._forget_done()
        numbers = {"items": driven.items, "trades": driven.trades, "samples": driven.samples}
        self._write({**numbers, "refusals": dict(driven.refusals)})

    def end(self, ended: Ended) -> None:
        """The expiry is settled, and the members hold this."""
        self.ended = ended
        self._write({"ended_minor": ended.balances_minor, "height": ended.height, "state_root": ended.state_root})

    def take(self, line: dict[str, Any]) -> None:
        """Read one line back; KeyError, TypeError or ValueError if it is none of ours."""
        if "deposits_minor" in line:
            self.funded = Funded(_numbers(line["balances_minor"]), _numbers(line["deposits_minor"]))
        elif "first" in line:
            first, count = int(line["first"]), int(line["count"])
            if not DEPOSIT <= first <= first + count <= self.driven.total:
                raise ValueError("it announces what the schedule does not have")
            self._expiries.update(dict.fromkeys(range(first, first + count), int(line["expires_at_unix_ms"])))
        elif "items" in line:
            driven = self.driven
            driven.items, driven.trades, driven.samples = (int(line[name]) for name in ("items", "trades", "samples"))
            if not 0 <= driven.items <= driven.total:
                raise ValueError("more is done than the schedule has")
            driven.refusals = Counter({str(code): int(number) for code, number in line["refusals"].items()})
            self._forget_done()
        else:
            self.ended = Ended(_numbers(line["ended_minor"]), int(line["height"]), str(line["state_root"]))

    def begin(self, chain_id: bytes) -> None:
        """Write the first line of a new journal."""
        self._write({"version": VERSION, "chain_id": chain_id.hex(), "plan": self._plan_digest.hex()})

    def _forget_done(self) -> None:
        """What is done needs no envelope again; the deposits stay, since they are looked for at every start."""
        for place in [each for each in self._expiries if DEPOSIT < each < self.driven.items]:
            del self._expiries[place]

    def _write(self, line: dict[str, Any]) -> None:
        data = memoryview(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)


@contextmanager
def open_journal(directory: Path, chain_id: bytes, plan: Plan) -> Iterator[Journal]:
    """The journal of a plan's replay on a chain, begun or gone on with, in a testnet's directory.

    Raises:
        Rejected: ``testnet_busy`` while another replay runs in the directory; ``conflicting_setup`` when another plan
            has been begun for that expiry; ``bad_testnet`` when the file is damaged.
    """
    folder = directory / DIRECTORY
    make_private_directory(folder)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Rejected("testnet_busy", "Another replay runs on this testnet.", dir=str(directory)) from error
        path = folder / f"{plan.index}-{plan.expiry}.jsonl"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            sync_directory(folder)
            yield _opened(path, file, chain_id, plan)
        finally:
            os.close(file)
    finally:
        os.close(lock)


def plan_digest(plan: Plan) -> bytes:
    """What a replay will send, as 32 bytes: of equal digests the replays are the same one."""
    terms = [each.trade for each in plan.trades]
    trades = [
        (each.ts_unix_ms, each.series.name, each.price_ticks, each.quantity_lots, int(each.taker_buys))
        for each in terms
    ]
    samples = [(each.ts_unix_ms, each.price_ticks) for each in plan.samples]
    return digest(Domain.TAPE, encode([VERSION, plan.index, plan.expiry_unix_ms, trades, samples]))


def _opened(path: Path, file: int, chain_id: bytes, plan: Plan) -> Journal:
    wanted = plan_digest(plan)
    journal = Journal(path, file, wanted, len(plan.trades) + len(plan.samples))
    data = read_small(path, LARGE_BYTES_MAX)
    try:
        header, lines = _lines(path, file, data)
        chain, found = header.get("chain_id"), header.get("plan")
        if chain == chain_id.hex() and found == wanted.hex():
            for line in lines:
                journal.take(line)
            return journal
        if chain == chain_id.hex() and any("deposits_minor" in line for line in lines):
            raise Rejected(
                "conflicting_setup",
                f"Another replay through {plan.expiry} has begun on this testnet: go on with its tape, index file and "
                "settlement price.",
                begun=str(found)[:16],
                wanted=wanted.hex()[:16],
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Rejected("bad_testnet", f"The replay's journal {path} is damaged.") from error
    os.ftruncate(file, 0)
    journal.begin(chain_id)
    return journal


def _lines(path: Path, file: int, data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first line and the others, without what was cut off (rule 4), which is dropped from the file too."""
    if len(data) > LARGE_BYTES_MAX:
        raise Rejected("bad_testnet", f"The replay's journal {path} is too large.", size_max=LARGE_BYTES_MAX)
    whole = data[: data.rfind(b"\n") + 1]
    os.ftruncate(file, len(whole))
    found = [json.loads(line) for line in whole.splitlines()]
    if found and found[0]["version"] != VERSION:
        raise ValueError("another version wrote it")
    return (found[0], found[1:]) if found else ({}, [])


def _numbers(values: Any) -> tuple[int, ...]:
    """A number for each member."""
    if len(values) != len(MEMBERS):
        raise ValueError("it has another number of members")
    return tuple(int(each) for each in values)
