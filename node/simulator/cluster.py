"""A whole simulated network: replicas, links, oracles, load, on one heap."""

from __future__ import annotations

from random import Random
from typing import Final, TextIO

from consensus.engine import Engine
from consensus.leaders import Rotation
from consensus.safety import fresh_safety
from consensus.types import OBSERVER, Message
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
from node.simulator.schedule import Schedule, fixed_schedule
from node.simulator.settings import BYZANTINE, Fault, Settings
from node.simulator.signatures import Signatures
from node.simulator.terms import core_config
from node.simulator.transcript import Transcript

LULL: Final = 0.02
LULL_MS: Final = 250


def make_signatures(settings: Settings) -> Signatures:
    """The keys of a run: real ones where something real checks what they sign."""
    return Signatures(real=settings.real_signatures, real_keys=settings.real_state)


class Cluster:
    """The network of one run.

    Args:
        settings: The run.
        chance: Its only source of chance.
        cast: Who is charged with what.
        sink: Where the whole transcript goes.
        leaders: Who leads; None for the engine's own schedule.
        schedule: Who validates when; None for the settings' validators for ever.
    """

    def __init__(
        self,
        settings: Settings,
        chance: Random,
        cast: Cast,
        sink: TextIO | None = None,
        leaders: Rotation | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.settings = settings
        self.params = settings.params
        self.chance = chance
        self.cast = cast
        self.heap = Heap()
        self.codec = Codec()
        self.transcript = Transcript(sink)
        self.signatures = make_signatures(settings)
        schedule = schedule if schedule is not None else fixed_schedule(settings, self.signatures.public_key)
        size = schedule.operators
        self.oracle = Oracle(size, settings.params)
        self.links = Links(self.heap, chance, self.oracle.counts)
        self.ledger = make_ledger(settings, chance, schedule, self.signatures, cast)
        self.chain_id = self.ledger.document.chain_id
        self.origin_unix_ms = self.ledger.genesis.time_unix_ms
        self.first_safety = encode_safety(fresh_safety(self.ledger.genesis))
        self.view = 0
        """The highest view that an honest replica has been in; over epochs, the sum of what each has had."""
        self.leaders = leaders
        self._views_before = {0: 0}
        self.replicas = self._make_replicas(size)
        self.operators = range(size)
        self.of_operator = [[each for each in self.replicas if each.operator == number] for number in range(size)]
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
        config = core_config(replica, replica.term)
        return make_core(self.settings.engine, config, replica.make_recovery(), scrupulous=replica.is_honest)

    def begin_epoch(self, replica: Replica) -> int:
        """A replica comes to an epoch; the views that went before it."""
        term = replica.term
        before = self._views_before.setdefault(term.epoch, self.view)
        if replica.is_honest:
            self.oracle.on_epoch(replica, term)
        if term.epoch:
            self.note(replica, f"begins epoch {term.epoch} at place {term.seat.index} of {len(term.members)}")
        return before

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """Whether a frame enters the link; `message` is None on the data plane. For scenarios to override."""
        return True

    def accomplice(self, stranger: int, recipient: Replica) -> int | None:
        """Who passes on what a Byzantine operator says that is no member of the recipient's epoch: one that is, if
        there is one. Honest ones pass nothing on."""
        if self.cast.role(stranger) != Fault.OLD_EPOCH:
            return None
        members = (each for each in recipient.term.peers if self.cast.role(each) in BYZANTINE)
        return next(members, None)

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
        if not replica.is_up or replica.index == OBSERVER or replica.payloads.is_full(replica.operator):
            return None
        chain_unix_ms = self.origin_unix_ms + self.heap.now_ms
        name, wire = self.ledger.next_batch(replica.operator, chain_unix_ms)
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
