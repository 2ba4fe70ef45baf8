"""A whole simulated network: replicas, links, oracles, load, on one heap."""

from __future__ import annotations

from random import Random
from typing import Final, TextIO

from consensus.config import CoreConfig
from consensus.engine import Engine
from consensus.leaders import Rotation
from consensus.safety import fresh_safety
from consensus.types import Message
from consensus.validators import genesis_validators
from consensus.wire import encode_safety
from node.simulator.byzantine import STRATEGIES, Strategy
from node.simulator.cast import Cast
from node.simulator.checks import Oracle
from node.simulator.codec import Codec
from node.simulator.engines import make_core
from node.simulator.heap import Heap
from node.simulator.ledger import make_ledger
from node.simulator.links import Links
from node.simulator.replica import Replica
from node.simulator.settings import Fault, Settings
from node.simulator.signatures import Signatures
from node.simulator.transcript import Transcript

LULL: Final = 0.02
LULL_MS: Final = 250


class Cluster:
    """The network of one run.

    Args:
        settings: The run.
        chance: Its only source of chance.
        cast: Who is charged with what.
        sink: Where the whole transcript goes.
        leaders: Who leads; None for the engine's own schedule.
    """

    def __init__(
        self,
        settings: Settings,
        chance: Random,
        cast: Cast,
        sink: TextIO | None = None,
        leaders: Rotation | None = None,
    ) -> None:
        size = len(settings.powers)
        self.settings = settings
        self.params = settings.params
        self.chance = chance
        self.cast = cast
        self.heap = Heap()
        self.codec = Codec()
        self.transcript = Transcript(sink)
        self.oracle = Oracle(size, settings.params)
        self.links = Links(self.heap, chance, self.oracle.counts)
        self.signatures = Signatures(size, settings.real_signatures)
        self.ledger = make_ledger(settings, chance, self.signatures.public_keys)
        self.chain_id = self.ledger.document.chain_id
        self.origin_unix_ms = self.ledger.genesis.time_unix_ms
        self.validators = genesis_validators(self.ledger.document)
        self.first_safety = encode_safety(fresh_safety(self.ledger.genesis))
        self.others = [self.validators.others(index) for index in range(size)]
        self.view = 0
        """The highest view that an honest replica has been in."""
        self._leaders = leaders
        self.replicas = self._make_replicas(size)
        self.at_index = [[each for each in self.replicas if each.index == index] for index in range(size)]
        self.honest = [each for each in self.replicas if each.is_honest]

    def _make_replicas(self, size: int) -> list[Replica]:
        roles = [self.cast.role(index) for index in range(size)]
        kinds = [STRATEGIES.get(role) if role is not None else None for role in roles]
        replicas = [
            Replica(self, index, index, str(index), kind() if kind is not None else None)
            for index, kind in enumerate(kinds)
        ]
        for index in range(size):
            if roles[index] == Fault.TWIN:
                twin = Replica(self, len(replicas), index, f"{index}'", Strategy())
                twin.skew_ms = 1
                replicas.append(twin)
        return replicas

    def start(self) -> None:
        """Start every process."""
        for replica in self.replicas:
            replica.start()

    def make_core(self, replica: Replica) -> Engine:
        """The engine of a process that starts now."""
        config = CoreConfig(
            self.chain_id,
            replica.index,
            self.validators,
            self.params,
            self.ledger.genesis,
            self.signatures.is_valid,
            self._leaders,
        )
        recovery = replica.disk.recovery(self.codec)
        return make_core(self.settings.engine, config, recovery, scrupulous=replica.is_honest)

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """Whether a frame enters the link; `message` is None on the data plane. For scenarios to override."""
        return True

    def note(self, replica: Replica | None, text: str) -> None:
        """Something for the transcript."""
        self.transcript.note(self.heap.now_ms, replica.name if replica is not None else "net", text)

    # --- load ---------------------------------------------------------------------------------------------------------

    def load(self, every_ms: int) -> None:
        """Order something on an uneven beat, for ever, with lulls in which the chain idles."""
        chance = self.chance
        self.submit(self.replicas[int(chance.random() * len(self.replicas))])
        lull_ms = LULL_MS if chance.random() < LULL else 0
        self.heap.after(1 + int(chance.random() * 2 * every_ms) + lull_ms, self.load, every_ms)

    def submit(self, replica: Replica) -> bytes | None:
        """A client's new batch for this replica; its digest, None if the replica is down or takes no more now."""
        if not replica.is_up or replica.payloads.is_full(replica.index):
            return None
        chain_unix_ms = self.origin_unix_ms + self.heap.now_ms
        name, wire = self.ledger.next_batch(replica.index, chain_unix_ms)
        replica.arrive("submit", name, wire)
        return name

    # --- what can be read ---------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The highest committed height."""
        return max(self.oracle.decided, default=0)

    @property
    def heights(self) -> dict[str, int]:
        """How many blocks are durable at each place."""
        return {each.name: each.disk.height for each in self.replicas}

    @property
    def handled(self) -> int:
        """How many events all engines have handled."""
        return sum(each.handled for each in self.replicas)
