"""From one epoch to the next: in which this node is, its seat there, and the core that takes part in it.

Rules:

1. The ledger says which epoch it is: that of the block above its tip. At an edge that is the next epoch once the
   blocks that closed the last one are in the ledger, durably, and not before: who goes on can show everybody why.
2. Our seat is the place of our certificate in the validator set that the state names for the epoch. Without one, or
   with a key there that we do not have, we observe. (Whether a signer has it, the signer says: `node.signer_client`.)
3. Before anything is signed in an epoch, the safety state of that epoch is durable. `node.seats` says what it is, and
   when the ledger is behind it and we must observe.
4. An edge that leaves the set as it is replaces the core and nothing else. One that changes it ends what was built for
   the old set (`node.app`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consensus.config import CoreConfig, Recovery, Tip
from consensus.engine import Engine, make_engine
from consensus.events import EpochClosed, Executed, Now, SafetyState
from consensus.turns import history_start
from consensus.types import OBSERVER, Anchor, Header, ReplicaIndex
from consensus.validators import ValidatorSet, validator_set
from contracts.edge import validator_set_of
from contracts.machine import State
from genesis.document import GenesisDocument
from genesis.epochs import edge_height
from genesis.errors import Rejected, invariant, violated
from genesis.hashing import ZERO_DIGEST
from node.batch_pool import ReportLine
from node.failures import StorageFailure
from node.safety_file import SafetyFile
from node.seats import epoch_of_ledger, take_seat
from node.store import RESYNC, Store
from node.store_records import ClosedEpoch, CommittedBlock
from node.transitions import transition_of

CLOSE_US: Final = 1_000
"""One synced write of the ledger and one of the safety file."""


class Epochs:
    """The epoch in which this node is. `close` leads to the next.

    Attributes:
        epoch: Which one.
        members: Its validators, in order of index.
        observes: Why we sign nothing in it; empty if we do. Known once there is a core.

    Args:
        document: The chain.
        is_ours: Whether a consensus key is one of ours.
        certificate: The certificate of our network key.
        store, safety: Where everything is found again.
        state: The state at the store's tip; the executor changes it.
        genesis: Block 0.
        now: The time.
        report: Called with what an operator should know of.
    """

    def __init__(
        self,
        document: GenesisDocument,
        is_ours: Callable[[bytes], bool],
        certificate: bytes,
        store: Store,
        safety: SafetyFile,
        state: State,
        genesis: Header,
        now: Callable[[], Now],
        report: ReportLine,
    ) -> None:
        self._document = document
        self._is_ours = is_ours
        self._certificate = certificate
        self._store = store
        self._safety = safety
        self._state = state
        self._genesis = genesis
        self._report = report
        self._running_since_ms = now().monotonic_ms
        self._blocks = document.params.epoch_blocks
        safety.load()
        self.epoch = self._epoch_of_ledger()
        self.members = validator_set_of(state, self.epoch)
        self.observes = ""

    @property
    def index(self) -> ReplicaIndex:
        """Our place in the set of the epoch, by which its validators know us, or `OBSERVER`."""
        places = (index for index, each in enumerate(self.members) if each.certificate == self._certificate)
        return next(places, OBSERVER)

    @property
    def public_key(self) -> bytes | None:
        """The key of ours that the set of the epoch names; None when it names none."""
        named = self.members[self.index].public_key if self.index != OBSERVER else None
        return named if named is not None and self._is_ours(named) else None

    @property
    def validators(self) -> ValidatorSet:
        """The set of the epoch, as the core sees it."""
        return validator_set(self.epoch, self.members)

    def names(self, epoch: int) -> tuple[str, ...]:
        """The names of the validators of an epoch, in order of index; empty when its set is no longer kept."""
        try:
            return tuple(each.name for each in validator_set_of(self._state, epoch))
        except Rejected:
            return ()

    def core(self) -> Engine:
        """The core of the epoch, from what the disk holds. Blocks, shortly."""
        base, root = self._base()
        saved = self._safety.saved
        seat = take_seat(saved, base, self.epoch, self.index if self.public_key is not None else OBSERVER)
        limits = self._document.limits
        config = CoreConfig(self._document.chain_id, seat.index, self.validators, limits, base, base_root=root)
        if seat.safety is not None and seat.safety != saved:
            self._safety.save(seat.safety)
        details: dict[str, int | str] = {"epoch": self.epoch, "height": base.height, "validators": len(self.members)}
        self._report("epoch_began", details)
        self.observes = self._why_observing(seat.is_behind)
        if self.observes:
            self._report("observes", {"epoch": self.epoch, "why": self.observes})
        return make_engine(self._document.consensus, config, self._recovery(config, seat.safety))

    async def close(self, closed: EpochClosed) -> Engine | None:
        """Make the end of the epoch durable, and enter the next: its core; None when its validators are others.

        Raises:
            StorageFailure: The disk refused.
        """
        epoch, before, tip = self.epoch, self.members, self._tip()
        invariant(
            tip.block_hash == closed.edge.block_hash, "the edge is durable before its epoch is closed", epoch=epoch
        )
        edge = self._store.proposal(closed.edge.block_hash)
        if edge is None:
            violated("the edge is stored", epoch=epoch)
        record = ClosedEpoch(edge, closed.state_root, closed.closing, closed.qc)
        next_set, link = transition_of(self._state, epoch, record)
        self.epoch = epoch + 1
        self.members = validator_set_of(self._state, self.epoch)

        def write() -> Engine | None:
            self._store.put_closed(epoch, record, next_set, link)
            return self.core() if self.members == before else None

        return await self._store.writes.run(CLOSE_US, write)

    def _why_observing(self, is_behind: bool) -> str:
        if self.index == OBSERVER:
            return f"it is not in the validator set of epoch {self.epoch}: it follows the chain and signs nothing"
        if self.public_key is None:
            return f"the validator set of epoch {self.epoch} names a consensus key that this node lacks"
        return "its ledger is behind its safety state: until it has caught up it signs nothing" if is_behind else ""

    def _tip(self) -> CommittedBlock:
        tip = self._store.tip()
        if tip is None:
            violated("a ledger in use has begun")
        return tip

    def _epoch_of_ledger(self) -> int:
        """Rule 1."""
        return epoch_of_ledger(self._tip().height, self._blocks, lambda epoch: self._store.closed(epoch) is not None)

    def _base(self) -> tuple[Header, bytes | None]:
        """The block that the epoch stands on, and the root after it."""
        if self.epoch == 0:
            return self._genesis, None
        closed = self._store.closed(self.epoch - 1)
        if closed is not None:
            return closed.edge.header, closed.state_root
        return _unknown_base(self.epoch, edge_height(self.epoch - 1, self._blocks)), ZERO_DIGEST

    def _recovery(self, config: CoreConfig, safety: SafetyState | None) -> Recovery:
        """What the core needs to go on where this validator stopped."""
        store, tip = self._store, self._tip()
        if tip.height == config.base.height:
            return Recovery(safety, pending=store.pending(), running_since_ms=self._running_since_ms)
        proposal = store.proposal(tip.block_hash)
        if proposal is None:
            raise StorageFailure("read the last block", f"block {tip.height} is missing", RESYNC)
        blocks = [store.committed(height) for height in range(max(1, tip.height - 1), tip.height + 1)]
        executed = tuple(Executed(each.height, each.block_hash, each.state_root) for each in blocks if each is not None)
        history = _history(store, tip.height)
        return Recovery(safety, Tip(proposal, tip.qc), executed, store.pending(), history, self._running_since_ms)


def _unknown_base(epoch: int, height: int) -> Header:
    """Stands for the block below an epoch in whose midst a snapshot was taken. Nothing above the snapshot names it."""
    return Header(epoch - 1, height, 0, 0, ZERO_DIGEST, 0, 0, Anchor(0, ZERO_DIGEST, ZERO_DIGEST), ())


def _history(store: Store, tip_height: int) -> tuple[Header, ...]:
    """The headers that say who is passed over (`consensus.turns`)."""
    blocks = [store.committed(height) for height in range(max(store.lowest, history_start(tip_height)), tip_height + 1)]
    proposals = [store.proposal(each.block_hash) for each in blocks if each is not None]
    return tuple(each.header for each in proposals if each is not None)
