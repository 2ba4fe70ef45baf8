"""Message delays, messages and bytes of a block, for both engines and several sizes of the set.

Run: ``python -m benchmarks.bench_consensus [VALIDATORS ...]``. The simulator's own networks (`node.simulator`) without
faults, on links of one fixed delay, under all of its oracles: virtual time and no chance, so every run prints the same.
Disks, execution and signatures take no time, and every batch is everywhere before a block orders it: what is measured
is the protocol's own. Two figures for each size and delay:

1. Latency: from a leader's proposal to its commit at each replica, and from one block's proposal to the next one's;
   means over `BLOCKS` blocks, of which each orders something, so no leader idles.
2. Messages and bytes of a block, each counted once for every replica it is sent to, as on the wire without TLS and
   framing, without the repetitions of the beat. A validator sends the `n`-th part of it on the average.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from random import Random
from typing import Final

from consensus.types import Header, Message, Proposal, Statement
from consensus.wire import encode_message
from genesis.document import ENGINES
from genesis.params import ChainParams
from node.simulator.cast import Cast
from node.simulator.checks import Oracle
from node.simulator.cluster import Cluster
from node.simulator.links import Quality
from node.simulator.replica import Replica
from node.simulator.settings import Settings

SIZES: Final = (4, 7, 16, 31, 64)
DELAYS_MS: Final = (1, 25)
BLOCKS: Final = 40
SETTLING_BLOCKS: Final = 5
LAST: Final = SETTLING_BLOCKS + BLOCKS + 1
NEVER_MS: Final = 60_000
PARAMS: Final = ChainParams(resend_interval_ms=NEVER_MS, block_batches_max=1, batches_open_per_author_max=2 * LAST)
"""The limits of a real chain, but for the beat and for blocks that order one batch each."""


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


class Watch(Oracle):
    """The oracles, and a stopwatch beside them."""

    def __init__(self, validators: int, params: ChainParams, figures: Figures) -> None:
        super().__init__(validators, params)
        self._figures = figures

    def on_sign(self, replica: Replica, statement: Statement) -> None:
        """A proposal leaves."""
        super().on_sign(replica, statement)
        if isinstance(statement, Proposal):
            self._figures.proposed_ms.setdefault(statement.header.height, replica.world.heap.now_ms)

    def on_commit(self, replica: Replica, header: Header, expected_height: int) -> None:
        """A block is committed."""
        super().on_commit(replica, header, expected_height)
        self._figures.committed_ms.setdefault(header.height, []).append(replica.world.heap.now_ms)


class Network(Cluster):
    """Honest replicas of one engine, all links of one delay."""

    def __init__(self, engine: str, size: int, delay_ms: int) -> None:
        super().__init__(Settings(0, engine, (1,) * size, faults=(), params=PARAMS), Random(0), Cast())
        self.figures = Figures()
        self.oracle = Watch(size, PARAMS, self.figures)
        self.links.quality = Quality((delay_ms, delay_ms))

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """Count what is said while the blocks that count are proposed."""
        if message is not None and SETTLING_BLOCKS < len(self.figures.proposed_ms) <= SETTLING_BLOCKS + BLOCKS:
            self.figures.messages += 1
            self.figures.bytes += len(encode_message(message))
        return True

    def measure(self) -> Figures:
        """Until everybody has committed the last block that counts, and those that its figures need."""
        self.start()
        for number in range(2 * LAST):
            name, wire = self.ledger.next_batch(number % len(self.replicas), self.origin_unix_ms)
            for replica in self.replicas:
                replica.arrive("on_batch", number % len(self.replicas), name, wire, False)
        committed = self.figures.committed_ms
        if not self.heap.run_until(lambda: len(committed.get(LAST, ())) == len(self.replicas), NEVER_MS):
            sys.exit(f"stuck at {self.heights}")
        return self.figures


def main() -> None:
    """Print one table."""
    print("engine   validators  link ms  commit ms  interval ms  messages/block  KiB/block")
    for size in [int(each) for each in sys.argv[1:]] or SIZES:
        for engine in ENGINES:
            for delay_ms in DELAYS_MS:
                found = Network(engine, size, delay_ms).measure()
                messages, kib = found.messages / BLOCKS, found.bytes / BLOCKS / 1_024
                print(
                    f"{engine:<8} {size:>10}  {delay_ms:>7}  {found.latency_ms():>9.1f}  {found.interval_ms():>11.1f}"
                    f"  {messages:>14.0f}  {kib:>9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
