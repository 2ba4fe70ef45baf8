"""Many real cores on one event heap: a shell without sockets, disks or clocks, with seeded faults.

Time is the heap's. A node is a core with its durable store; its index may be shared (twins). Faults: loss, duplication,
delay and reordering of messages, links cut by a predicate, crashes between any two effects, wiped homes. What a node
has signed is recorded for ever, and `Cluster` fails at once when

* two honest commits differ at one height, or one node commits out of order (oracle S),
* an honest key ever signs two votes of one view and phase, two proposals or two timeouts of one view that differ, over
  any number of restarts, or
* an honest key is accused of anything.

Signatures are replaced by a keyed digest, except where a test asks for the real ones.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import TypeVar

from consensus import events as ev
from consensus.config import CoreConfig, Recovery, Tip
from consensus.core import Core
from consensus.engine import make_engine
from consensus.leaders import Rotation
from consensus.safety import fresh_safety
from consensus.types import (
    QC,
    Certificates,
    Header,
    Message,
    Proposal,
    Statement,
    Timeout,
    Vote,
    genesis_header,
    signing_message,
)
from consensus.validators import Validator, ValidatorSet
from consensus.wire import decode_message, encode_message
from genesis.evidence import Evidence
from genesis.hashing import Domain, digest
from genesis.params import ChainParams
from genesis.signing import SigningKey

CHAIN_ID = bytes(range(32))
GENESIS = genesis_header(CHAIN_ID, 1_000_000, bytes(32))
PARAMS = ChainParams()

S = TypeVar("S", Vote, Timeout, Proposal)
Link = Callable[[int, int, Message], bool]


def fast_sign(public_key: bytes, message: bytes) -> bytes:
    """A stand-in for Ed25519 that is much faster; nobody in a simulation forges."""
    return blake2b(message, key=public_key, digest_size=64).digest()


def fast_is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The check that belongs to `fast_sign`."""
    return fast_sign(public_key, message) == signature


def signing_key(index: int) -> SigningKey:
    """The key of validator `index`."""
    return SigningKey(bytes([index + 1]) * 32)


def make_validators(powers: tuple[int, ...], key: Callable[[int], SigningKey] = signing_key) -> ValidatorSet:
    """A set of these powers, with these keys."""
    members = (Validator(i, f"v{i}", key(i).public_key, power) for i, power in enumerate(powers))
    return ValidatorSet(0, tuple(members))


def sign(statement: S, index: int, *, real: bool = False) -> S:
    """The statement with the signature of validator `index`."""
    message = signing_message(CHAIN_ID, statement)
    key = signing_key(index)
    return replace(statement, signature=key.sign(message) if real else fast_sign(key.public_key, message))


@dataclass
class Disk:
    """What survives a crash."""

    safety: ev.SafetyState | None
    proposals: dict[bytes, Proposal] = field(default_factory=dict)
    committed: list[tuple[Proposal, QC, bytes]] = field(default_factory=list)

    def recovery(self) -> Recovery:
        """What a restarted node finds."""
        tip = Tip(*self.committed[-1][:2]) if self.committed else None
        executed = tuple(ev.Executed(p.header.height, p.header.block_hash, root) for p, _, root in self.committed[-2:])
        pending = tuple(p for p in self.proposals.values() if p.header.height > len(self.committed))
        history = tuple(p.header for p, _, _ in self.committed)
        return Recovery(self.safety, tip, executed, pending, history)


class Node:
    """One process: a core, its disk, and the shell that carries out its effects."""

    def __init__(self, cluster: Cluster, name: int, index: int) -> None:
        self.cluster = cluster
        self.name = name
        self.index = index
        self.disk = Disk(fresh_safety(GENESIS))
        self.unsynced: dict[bytes, Proposal] = {}
        self.up = False
        self.incarnation = 0
        self.halted: str | None = None
        self.effects_until_crash: int | None = None
        self.reports: Counter[str] = Counter()
        self.accusations: list[Evidence] = []
        self.wake_ms: int | None = None
        self.clock_skew_ms = 0
        self.wrong_root_from = 2**60
        self.executing = 0
        self.core: Core
        self.timeouts_sent = 0
        self.waiting: list[bytes] = []

    @property
    def height(self) -> int:
        """How many blocks are executed and durable."""
        return len(self.disk.committed)

    def start(self) -> None:
        """Start the process on what its disk holds."""
        self.incarnation += 1
        self.up = True
        cluster = self.cluster
        config = CoreConfig(
            cluster.chain_id, self.index, cluster.validators, cluster.params, GENESIS, leaders=cluster.leaders
        )
        self.core = make_engine(self.cluster.engine, config, self.disk.recovery())
        if self.index in self.cluster.byzantine:
            self.core._signatory.stop_if_impersonated = lambda *_: None  # it does not stop for its twin
        self.executing = self.height
        self.handle(ev.Started())

    def crash(self) -> None:
        """Power loss: what was not synced is gone."""
        self.up = False
        self.unsynced.clear()

    def handle(self, event: ev.Event) -> None:
        """Feed one event and carry out its effects, perhaps only some of them."""
        now = ev.Now(self.cluster.now_ms, GENESIS.time_unix_ms + self.cluster.now_ms + self.clock_skew_ms)
        for effect in self.core.handle(event, now):
            if self.effects_until_crash is not None:
                if self.effects_until_crash == 0:
                    self.effects_until_crash = None
                    self.crash()
                    return
                self.effects_until_crash -= 1
            self.carry_out(effect)

    def carry_out(self, effect: ev.Effect) -> None:
        """One effect, complete before the next."""
        cluster = self.cluster
        match effect:
            case ev.PersistSafety(state, proposal):
                self.disk.safety = state
                self.disk.proposals |= self.unsynced
                if proposal is not None:
                    self.disk.proposals[proposal.header.block_hash] = proposal
            case ev.StoreProposal(proposal):
                self.unsynced[proposal.header.block_hash] = proposal
            case ev.SignAndSend(statement, recipients):
                message = cluster.sign(self, statement)
                cluster.send(self, message, recipients)
                self.later(0, ev.Received(self.index, message))
            case ev.Send(message, recipients):
                cluster.send(self, message, recipients)
            case ev.RequestPayload(view, _, ancestors):
                self.later(0, ev.PayloadOffered(view, self.offer(ancestors)))
            case ev.EnsurePayload(header, _):
                self.later(cluster.payload_delay_ms, ev.PayloadStored(header.block_hash))
            case ev.FetchBlocks(peer, from_height, target):
                cluster.fetch(self, peer, from_height, target)
            case ev.Commit(proposal, qc):
                cluster.check_commit(self, proposal)
                self.executing += 1
                self.at(cluster.execute_ms, lambda: self.execute(proposal, qc))
            case ev.WakeAt(monotonic_ms):
                self.wake_ms = monotonic_ms
                self.at(max(0, monotonic_ms - cluster.now_ms), lambda: self.wake(monotonic_ms))
            case ev.Report(kind, _):
                self.reports[kind] += 1
            case ev.Accuse(evidence):
                assert evidence.validator in cluster.byzantine, f"v{evidence.validator} is honest and was accused"
                self.accusations.append(evidence)
            case ev.Halt(reason):
                self.halted = reason
                self.crash()

    def offer(self, ancestors: tuple[Header, ...]) -> tuple[bytes, ...]:
        """What waits here and is not ordered by the ancestors."""
        ordered = {each for header in ancestors for each in header.payload}
        return tuple(each for each in self.waiting if each not in ordered)[: self.cluster.params.block_batches_max]

    def wake(self, monotonic_ms: int) -> None:
        if self.wake_ms == monotonic_ms:
            self.handle(ev.WokenUp())

    def execute(self, proposal: Proposal, qc: QC) -> None:
        header = proposal.header
        before = self.disk.committed[-1][2] if self.disk.committed else GENESIS.anchor.state_root
        root = digest(Domain.BLOCK, before + b"".join(header.payload))
        if header.height >= self.wrong_root_from:
            root = bytes(32)
        self.disk.committed.append((proposal, qc, root))
        self.waiting = [each for each in self.waiting if each not in header.payload]
        self.handle(ev.Executed(header.height, header.block_hash, root))

    def later(self, delay_ms: int, event: ev.Event) -> None:
        """Hand an event to this incarnation after a while."""
        self.at(delay_ms, lambda: self.handle(event))

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something in this incarnation after a while."""
        incarnation = self.incarnation

        def guarded() -> None:
            if self.up and self.incarnation == incarnation:
                action()

        self.cluster.at(delay_ms, guarded)


class Cluster:
    """A set of nodes, their network, and the oracles."""

    def __init__(
        self,
        powers: tuple[int, ...] = (1, 1, 1, 1),
        *,
        seed: int = 0,
        params: ChainParams = PARAMS,
        twins: tuple[int, ...] = (),
        engine: str = "hotstuff",
        real_signatures: bool = False,
        chain_id: bytes = CHAIN_ID,
        key: Callable[[int], SigningKey] = signing_key,
    ) -> None:
        self.random = random.Random(seed)
        self.params = params
        self.chain_id = chain_id
        self.leaders: Rotation | None = None
        self.key = key
        self.validators = make_validators(powers, key)
        self.real_signatures = real_signatures
        self.now_ms = 0
        self.delay_ms = (1, 5)
        self.loss = self.duplication = 0.0
        self.payload_delay_ms = self.execute_ms = 1
        self.link: Link = lambda _sender, _recipient, _message: True
        self.engine = engine
        self.byzantine = set(twins)
        self.decided: dict[int, bytes] = {}
        self.sent: Counter[str] = Counter()
        self._signed: dict[tuple[type[Statement], int | None, int, int], bytes] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        indices = [*range(len(powers)), *twins]
        self.nodes = [Node(self, name, index) for name, index in enumerate(indices)]

    # --- driving ------------------------------------------------------------------------------------------------------

    def start(self) -> Cluster:
        """Start every node."""
        for node in self.nodes:
            node.start()
        return self

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something after a while."""
        heapq.heappush(self._heap, (self.now_ms + delay_ms, next(self._order), action))

    def run(self, for_ms: int) -> Cluster:
        """Let time pass."""
        end_ms = self.now_ms + for_ms
        while self._heap and self._heap[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        self.now_ms = end_ms
        return self

    def run_until(self, condition: Callable[[], bool], within_ms: int) -> int:
        """Let time pass until the condition holds; how long it took."""
        start_ms = self.now_ms
        while not condition():
            assert self._heap, "nothing is left to happen"
            assert self.now_ms - start_ms <= within_ms, f"not within {within_ms} ms; heights {self.heights}"
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        return self.now_ms - start_ms

    def grow(self, blocks: int, within_ms: int, nodes: list[Node] | None = None) -> int:
        """Let time pass until these nodes (or all that are up) stand so many blocks above the highest of now."""
        target = max(self.heights) + blocks
        watched = nodes if nodes is not None else [node for node in self.nodes if node.up]
        return self.run_until(lambda: all(node.height >= target for node in watched), within_ms)

    def order(self, label: str) -> bytes:
        """Something to order, waiting at every node."""
        item = digest(Domain.BATCH, label.encode())
        for node in self.nodes:
            node.waiting.append(item)
            if node.up:
                node.later(0, ev.PayloadWaiting())
        return item

    def load(self, every_ms: int) -> None:
        """Order something on a fixed beat, for ever."""
        self.order(f"load {self.now_ms}")
        self.at(every_ms, lambda: self.load(every_ms))

    @property
    def heights(self) -> list[int]:
        """How far each node has executed."""
        return [node.height for node in self.nodes]

    def ordered(self, node: Node) -> list[bytes]:
        """Everything that this node has executed, in order."""
        return [item for proposal, _, _ in node.disk.committed for item in proposal.header.payload]

    # --- network ------------------------------------------------------------------------------------------------------

    def send(self, sender: Node, message: Message, recipients: tuple[int, ...]) -> None:
        """To every node of each index; through the codec, as on a real wire."""
        assert sender.index not in recipients
        data = encode_message(message)
        self.sent[type(message).__name__] += 1
        for node in self.nodes:
            if node.index in recipients and self.link(sender.name, node.name, message):
                for _ in range(self.copies()):
                    self.at(self.random.randint(*self.delay_ms), partial(self.deliver, node, sender.index, data))

    def copies(self) -> int:
        """How often a message arrives."""
        if self.random.random() < self.loss:
            return 0
        return 2 if self.random.random() < self.duplication else 1

    def deliver(self, node: Node, sender: int, data: bytes) -> None:
        if node.up:
            node.handle(ev.Received(sender, decode_message(data)))

    def fetch(self, node: Node, peer: int, from_height: int, target: QC) -> None:
        """Ask the peer, then the others, as the shell does; the first that can answer does."""
        order = [peer, *(index for index in node.core._config.others if index != peer)]
        sources = [each for index in order for each in self.nodes if each.index == index]
        for source in sources:
            if source.up and self.link(source.name, node.name, Certificates(target, None)):
                answer = self.blocks_above(source, from_height)
                if answer is not None:
                    node.later(2 * self.delay_ms[1], answer)
                    return

    def blocks_above(self, source: Node, from_height: int) -> ev.BlocksReceived | None:
        """What a server answers: committed blocks, then those that it has stored up to its highest QC."""
        chain = [(p, qc) for p, qc, _ in source.disk.committed[from_height:]]
        chain += self.stored_above(source, max(from_height, source.height))
        chain = chain[: self.params.sync_blocks_max]
        if not chain:
            return None
        return ev.BlocksReceived(source.index, tuple(p for p, _ in chain), chain[-1][1])

    @staticmethod
    def stored_above(source: Node, above_height: int) -> list[tuple[Proposal, QC]]:
        """From the disk, as the node does: a core forgets blocks that were not certified for many views, and a voter
        has promised to have them."""
        stored, qc, chain = source.disk.proposals | source.unsynced, source.core.high_qc, []
        while qc.height > above_height:
            proposal = stored.get(qc.block_hash)
            if proposal is None:
                return []
            chain.append((proposal, qc))
            qc = proposal.justify
        return chain[::-1]

    # --- oracles ------------------------------------------------------------------------------------------------------

    def sign(self, node: Node, statement: Statement) -> Message:
        """Sign, and hold every honest key to what it has signed before."""
        node.timeouts_sent += isinstance(statement, Timeout)
        key, message = self.key(node.index), signing_message(self.chain_id, statement)
        if node.index not in self.byzantine:
            phase = int(statement.phase) if isinstance(statement, Vote) else None
            held = self._signed.setdefault((type(statement), phase, node.index, statement.view), message)
            assert held == message, f"v{node.index} signed two {type(statement).__name__}s in view {statement.view}"
        mark = key.sign(message) if self.real_signatures else fast_sign(key.public_key, message)
        return replace(statement, signature=mark)

    def check_commit(self, node: Node, proposal: Proposal) -> None:
        header = proposal.header
        if node.index in self.byzantine:
            return
        assert header.height == node.executing + 1, f"v{node.name} commits {header.height} after {node.executing}"
        held = self.decided.setdefault(header.height, header.block_hash)
        assert held == header.block_hash, f"two blocks are committed at height {header.height}"
