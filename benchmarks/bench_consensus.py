"""Message delays, messages and bytes of a block, for both engines and several sizes of the set.

Run: ``python -m benchmarks.bench_consensus``. Real cores and real encodings on an event heap: no clock, no chance, no
sockets, so every run prints the same. Every link takes the same time; disks, execution, signatures and payloads take
none: what is measured is the protocol's own. Two figures for each size and delay:

1. Latency: from a leader's proposal to its commit at each replica, and from one block's proposal to the next one's;
   means over `BLOCKS` blocks, of which each orders something, so no leader idles.
2. Messages and bytes of a block, each counted once for every replica it is sent to, as on the wire without TLS and
   framing, without the repetitions of the beat. A validator sends the `n`-th part of it on the average.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from consensus import events as ev
from consensus.config import CoreConfig, Recovery
from consensus.engine import make_engine
from consensus.safety import fresh_safety
from consensus.types import Message, Proposal, Statement, genesis_header
from consensus.validators import Validator, ValidatorSet
from consensus.wire import encode_message
from genesis.document import ENGINES
from genesis.hashing import Domain, digest
from genesis.params import ChainParams

SIZES: Final = (4, 7, 16, 31, 64)
DELAYS_MS: Final = (1, 25)
BLOCKS: Final = 40
SETTLING_BLOCKS: Final = 5
NEVER_MS: Final = 60_000
GENESIS: Final = genesis_header(bytes(32), 1_000_000, bytes(32))
SIGNATURE: Final = bytes(64)


@dataclass
class Figures:
    """What one run shows; times in milliseconds."""

    proposed_ms: dict[int, int] = field(default_factory=dict)
    committed_ms: dict[int, list[int]] = field(default_factory=dict)
    messages: int = 0
    bytes: int = 0

    def heights(self) -> range:
        """The blocks that count: not the first few, and none whose commit somebody has not seen."""
        return range(SETTLING_BLOCKS + 1, SETTLING_BLOCKS + BLOCKS + 1)

    def latency_ms(self) -> float:
        """From the proposal to the commit, mean over replicas and blocks."""
        spans = [at - self.proposed_ms[height] for height in self.heights() for at in self.committed_ms[height]]
        return sum(spans) / len(spans)

    def interval_ms(self) -> float:
        """From one proposal to the next."""
        heights = self.heights()
        return (self.proposed_ms[heights[-1]] - self.proposed_ms[heights[0]]) / (len(heights) - 1)


class Network:
    """Replicas of one engine, all links of one delay."""

    def __init__(self, engine: str, size: int, delay_ms: int) -> None:
        self.now_ms = 0
        self.figures = Figures()
        self._delay_ms = delay_ms
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._orders = count()
        validators = ValidatorSet(0, tuple(Validator(i, f"v{i}", bytes([i]) * 32, 1) for i in range(size)))
        params = ChainParams(resend_interval_ms=NEVER_MS)
        config = CoreConfig(bytes(32), 0, validators, params, GENESIS, is_valid=lambda *_: True)
        recovery = Recovery(fresh_safety(GENESIS))
        self._cores = [make_engine(engine, replace(config, index=index), recovery) for index in range(size)]
        self._wake_ms: list[int] = [0] * size

    def run(self) -> Figures:
        """Until everybody has committed the last block that counts, and those that its figures need."""
        for index in range(len(self._cores)):
            self._handle(index, ev.Started())
        last = SETTLING_BLOCKS + BLOCKS + 1
        while min(core.executed_height for core in self._cores) < last:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        return self.figures

    def _at(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now_ms + delay_ms, next(self._order), action))

    def _handle(self, index: int, event: ev.Event) -> None:
        now = ev.Now(self.now_ms, GENESIS.time_unix_ms + self.now_ms)
        for effect in self._cores[index].handle(event, now):
            self._carry_out(index, effect)

    def _later(self, index: int, event: ev.Event, delay_ms: int = 0) -> None:
        self._at(delay_ms, lambda: self._handle(index, event))

    def _carry_out(self, index: int, effect: ev.Effect) -> None:
        match effect:
            case ev.SignAndSend(statement, recipients):
                self._sign_and_send(index, statement, recipients)
            case ev.Send(message, recipients):
                self._send(index, message, recipients)
            case ev.RequestPayload(view, _, _):
                order = digest(Domain.BATCH, str(next(self._orders)).encode())
                self._later(index, ev.PayloadOffered(view, (order,)))
            case ev.EnsurePayload(header, _):
                self._later(index, ev.PayloadStored(header.block_hash))
            case ev.Commit(proposal, _):
                header = proposal.header
                self.figures.committed_ms.setdefault(header.height, []).append(self.now_ms)
                self._later(index, ev.Executed(header.height, header.block_hash, bytes(32)))
            case ev.WakeAt(monotonic_ms):
                self._wake_ms[index] = monotonic_ms
                self._at(monotonic_ms - self.now_ms, lambda: self._wake(index, monotonic_ms))
            case ev.Halt(reason):
                sys.exit(f"validator {index} halted: {reason}")

    def _sign_and_send(self, index: int, statement: Statement, recipients: tuple[int, ...]) -> None:
        signed = replace(statement, signature=SIGNATURE)
        if isinstance(signed, Proposal):
            self.figures.proposed_ms.setdefault(signed.header.height, self.now_ms)
        self._send(index, signed, recipients)
        self._later(index, ev.Received(index, signed))

    def _send(self, index: int, message: Message, recipients: tuple[int, ...]) -> None:
        if SETTLING_BLOCKS < len(self.figures.proposed_ms) <= SETTLING_BLOCKS + BLOCKS:
            self.figures.messages += len(recipients)
            self.figures.bytes += len(recipients) * len(encode_message(message))
        for recipient in recipients:
            self._later(recipient, ev.Received(index, message), self._delay_ms)

    def _wake(self, index: int, monotonic_ms: int) -> None:
        if self._wake_ms[index] == monotonic_ms:
            self._handle(index, ev.WokenUp())


def main() -> None:
    """Print one table."""
    print("engine   validators  link ms  commit ms  interval ms  messages/block  KiB/block")
    for size in SIZES:
        for engine in ENGINES:
            for delay_ms in DELAYS_MS:
                found = Network(engine, size, delay_ms).run()
                messages, kib = found.messages / BLOCKS, found.bytes / BLOCKS / 1_024
                print(
                    f"{engine:<8} {size:>10}  {delay_ms:>7}  {found.latency_ms():>9.1f}  {found.interval_ms():>11.1f}"
                    f"  {messages:>14.0f}  {kib:>9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
