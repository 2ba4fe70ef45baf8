"""Many real cores on one event heap: a shell without sockets, disks or clocks, with seeded faults.

Time is the heap's. A node is a core with its durable store; its index may be shared (twins). Faults: loss, duplication,
delay and reordering of messages, links cut by a predicate, crashes between any two effects, wiped homes. What a node
has signed is recorded for ever, and `Cluster` fails at once when

* two honest commits differ at one height, or one node commits out of order (oracle S),
* an honest key ever signs two votes of one view and phase, two proposals or two timeouts of one view that differ, over
  any number of restarts, or
* an honest key is accused of anything.

A node is named by its key; its index is its place in the set of the epoch in which its core is, or none. `members` says
who decides an epoch; by default it is always the same set.

Signatures are replaced by a keyed digest, except where a test asks for the real ones.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import blake2b
from itertools import count
from typing import TypeVar

from consensus import events as ev
from consensus.config import CoreConfig, Recovery, Tip
from consensus.core import Core
from consensus.engine import make_engine
from consensus.leaders import Rotation
from consensus.safety import fresh_safety, next_safety
from consensus.types import (
    OBSERVER,
    QC,
    Certificates,
    Header,
    Message,
    Proposal,
    Statement,
    Timeout,
    Vote,
    epoch_of,
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
Members = Callable[[int], tuple[tuple[int, int], ...]]
"""The (key, power) of each validator of an epoch, in order of index."""

Link = Callable[[int, int, Message], bool]


def fast_sign(public_key: bytes, message: bytes) -> bytes:
    """A stand-in for Ed25519 that is much faster; nobody in a simulation forges."""
    return blake2b(message, key=public_key, digest_size=64).digest()


def fast_is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The check that belongs to `fast_sign`."""
    return fast_sign(public_key, message) == signature


@cache
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
    closings: dict[int, ev.EpochClosed] = field(default_factory=dict)

    def epoch(self, epoch_blocks: int) -> int:
        """The epoch to go on in: the next one begins when the closing blocks of the last are here."""
        epoch, over = divmod(len(self.committed), epoch_blocks)
        return epoch if over or epoch == 0 or epoch - 1 in self.closings else epoch - 1

    def base(self, epoch: int, epoch_blocks: int) -> tuple[Header, bytes | None]:
        """The block that an epoch stands on, and the root after it."""
        if epoch == 0:
            return GENESIS, None
        proposal, _, root = self.committed[epoch * epoch_blocks - 1]
        return proposal.header, root

    def recovery(self, safety: ev.SafetyState | None, base: Header, since_ms: int) -> Recovery:
        """What a restarted node finds."""
        tip = Tip(*self.committed[-1][:2]) if len(self.committed) > base.height else None
        executed = tuple(ev.Executed(p.header.height, p.header.block_hash, root) for p, _, root in self.committed[-2:])
        pending = tuple(p for p in self.proposals.values() if p.header.height > len(self.committed))
        history = tuple(p.header for p, _, _ in self.committed)
        return Recovery(safety, tip, executed, pending, history, since_ms)


class Node:
    """One process: a core, its disk, and the shell that carries out its effects."""

    def __init__(self, cluster: Cluster, name: int, key: int) -> None:
        self.cluster = cluster
        self.name = name
        self.key = key
        self.index = key
        self.disk = Disk(fresh_safety(GENESIS))
        self.unsynced: dict[bytes, Proposal] = {}
        self.up = False
        self.incarnation = 0
        self.since_ms = 0
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
        self.since_ms = self.cluster.now_ms
        self.executing = self.height
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start a core in the epoch that the disk has got to."""
        cluster, disk = self.cluster, self.disk
        blocks = cluster.params.epoch_blocks
        epoch = disk.epoch(blocks)
        base, root = disk.base(epoch, blocks)
        safety = next_safety(disk.safety, base, epoch) if disk.safety is not None else None
        must_observe = disk.safety is not None and safety is None
        self.index = OBSERVER if must_observe else cluster.place(self.key, epoch)
        members = cluster.validators_of(epoch)
        config = CoreConfig(
            cluster.chain_id, self.index, members, cluster.params, base, leaders=cluster.leaders, base_root=root
        )
        self.core = make_engine(cluster.engine, config, disk.recovery(safety, base, self.since_ms))
        if self.key in cluster.byzantine:
            self.core._signatory.stop_if_impersonated = lambda *_: None  # it does not stop for its twin
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
            case ev.EpochClosed(early=early):
                self.disk.closings[self.core.epoch] = effect
                is_same = cluster.members(self.core.epoch) == cluster.members(self.core.epoch + 1)
                self.begin_epoch()
                for each in early if is_same else ():
                    self.handle(each)
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
        members: Members | None = None,
        joiners: int = 0,
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
        self.members: Members = members or (lambda _epoch: tuple(enumerate(powers)))
        self._sets: dict[int, ValidatorSet] = {}
        self.validators = self.validators_of(0)
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
        self._signed: dict[tuple[type[Statement], int | None, int, int, int], bytes] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        keys = [*range(len(powers) + joiners), *twins]
        self.nodes = [Node(self, name, key) for name, key in enumerate(keys)]

    def validators_of(self, epoch: int) -> ValidatorSet:
        """The validator set of an epoch."""
        if epoch not in self._sets:
            members = (
                Validator(index, f"v{key}", self.key(key).public_key, power)
                for index, (key, power) in enumerate(self.members(epoch))
            )
            self._sets[epoch] = ValidatorSet(epoch, tuple(members))
        return self._sets[epoch]

    def place(self, key: int, epoch: int) -> int:
        """The index of a key in the set of an epoch."""
        return next((place for place, (each, _) in enumerate(self.members(epoch)) if each == key), OBSERVER)

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
        arrived = decode_message(encode_message(message))
        self.sent[type(message).__name__] += 1
        members = self.members(sender.core.epoch)
        keys = {members[index][0] for index in recipients}
        for node in self.nodes:
            if node.key in keys and self.link(sender.name, node.name, message):
                for _ in range(self.copies()):
                    self.at(self.random.randint(*self.delay_ms), partial(self.deliver, node, sender.key, arrived))

    def copies(self) -> int:
        """How often a message arrives."""
        if self.random.random() < self.loss:
            return 0
        return 2 if self.random.random() < self.duplication else 1

    def deliver(self, node: Node, sender_key: int, message: Message) -> None:
        """From the sender's place in the set in which the recipient is; strangers are not connected."""
        sender = self.place(sender_key, node.core.epoch) if node.up else OBSERVER
        if sender != OBSERVER:
            node.handle(ev.Received(sender, message))

    def fetch(self, node: Node, peer: int, from_height: int, target: QC) -> None:
        """Ask the peer, then the others, as the shell does; the first that can answer does."""
        members = self.members(target.epoch)
        order = [peer, *(index for index in node.core._config.others if index != peer)]
        sources = [each for index in order for each in self.nodes if each.key == members[index][0]]
        for source in sources:
            is_let_in = source.up and self.place(node.key, source.core.epoch) != OBSERVER
            if is_let_in and self.link(source.name, node.name, Certificates(target, None)):
                answer = self.blocks_above(source, target.epoch, from_height)
                if answer is not None:
                    sender = self.place(source.key, target.epoch)
                    node.later(2 * self.delay_ms[1], replace(answer, sender=sender))
                    return

    def blocks_above(self, source: Node, epoch: int, from_height: int) -> ev.BlocksReceived | None:
        """What a server answers, blocks of one epoch: committed ones, then those that closed it, or, in its own epoch,
        those that it has stored up to its highest QC."""
        committed = [(p, qc) for p, qc, _ in source.disk.committed if p.header.height > from_height]
        chain = [each for each in committed if each[0].header.epoch == epoch]
        closed = source.disk.closings.get(epoch)
        if epoch == source.core.epoch:
            chain += self.stored_above(source, max(from_height, source.height))
        elif closed is not None:
            qcs = [*(each.justify for each in closed.closing[1:]), closed.qc]
            above = zip(closed.closing, qcs, strict=True)
            chain += [each for each in above if each[0].header.height > from_height]
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
        key, message = self.key(node.key), signing_message(self.chain_id, statement)
        assert node.index == self.place(node.key, epoch_of(statement)) != OBSERVER, "only members sign, in their place"
        if node.key not in self.byzantine:
            phase = int(statement.phase) if isinstance(statement, Vote) else None
            what = (type(statement), phase, node.key, epoch_of(statement), statement.view)
            held = self._signed.setdefault(what, message)
            assert held == message, f"v{node.key} signed two {type(statement).__name__}s in view {statement.view}"
        mark = key.sign(message) if self.real_signatures else fast_sign(key.public_key, message)
        return replace(statement, signature=mark)

    def check_commit(self, node: Node, proposal: Proposal) -> None:
        header = proposal.header
        if node.key in self.byzantine:
            return
        assert header.height == node.executing + 1, f"v{node.name} commits {header.height} after {node.executing}"
        held = self.decided.setdefault(header.height, header.block_hash)
        assert held == header.block_hash, f"two blocks are committed at height {header.height}"
