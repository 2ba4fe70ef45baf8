"""The contract of the core: what goes in (events) and what comes out (effects).

``core.handle(event, now) -> tuple[Effect, ...]``. The shell carries out the effects of one call **in order**, and each
is complete before the next begins: a `Persist` is on disk before a later `Sign` leaves. Nothing else is promised
between calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.types import QC, TC, Header, Message, Proposal, ReplicaIndex, Statement, Timeout
from genesis.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Now:
    """Time as the shell read it: a monotonic clock for timers, and block time for proposals and votes (both ms)."""

    monotonic_ms: int
    chain_unix_ms: int


@dataclass(frozen=True, slots=True)
class SafetyState:
    """What must survive a crash for this replica to stay honest. See `consensus.safety` for the rules it serves.

    Attributes:
        epoch: The epoch it belongs to.
        last_voted_view: No vote in this view or below, ever again (a timeout sets it too).
        last_proposed_view: No proposal in this view or below, ever again.
        high_qc: The highest QC this replica has voted on or reported; timeouts never carry a lower one.
        high_tc: The TC that let it enter a view, if `high_qc` does not lead as far.
        last_timeout: The last timeout, unsigned, until it votes in a later view. One view sees one timeout of ours,
            over any number of restarts; this one is what may be said again.
        next_epoch_view: No vote and no proposal in this view of the next epoch or below: what a replica that has lost
            its memory in this epoch may have said there (`consensus.amnesia`).
    """

    epoch: int
    last_voted_view: int
    last_proposed_view: int
    high_qc: QC
    high_tc: TC | None
    last_timeout: Timeout | None = None
    next_epoch_view: int = 0


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The shell runs; timers may be armed. First event, once."""


@dataclass(frozen=True, slots=True)
class WokenUp:
    """The moment of the last `WakeAt` has come (or any later one; the core checks its own deadlines)."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from a peer, decoded, its signatures unchecked; or our own statement, come back signed."""

    sender: ReplicaIndex
    message: Message


@dataclass(frozen=True, slots=True)
class PayloadOffered:
    """Answers `RequestPayload`, always and at once: what would go into a block now, maybe nothing.

    Digests, each once, `block_batches_max` at most; a digest that an ancestor orders already is wasted, not wrong.
    """

    view: int
    payload: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PayloadWaiting:
    """Something has become orderable: an idle leader need not wait for the idle interval. May be sent at any time."""


@dataclass(frozen=True, slots=True)
class PayloadStored:
    """Everything the block orders is here and durable enough to vote on. Answers `EnsurePayload`."""

    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Executed:
    """The committed block of this height has been executed; `state_root` is the root after it."""

    height: int
    block_hash: bytes
    state_root: bytes


@dataclass(frozen=True, slots=True)
class BlocksReceived:
    """An answer to `FetchBlocks`: consecutive proposals, oldest first, each certified by the next one's `justify` and
    the last one by `high_qc`. Nothing in it has been checked."""

    sender: ReplicaIndex
    proposals: tuple[Proposal, ...]
    high_qc: QC


@dataclass(frozen=True, slots=True)
class AskedAhead:
    """A peer asks us for blocks of an epoch after ours: it is there. Who is there without a voice says nothing else."""

    sender: ReplicaIndex


Event = (
    Started
    | WokenUp
    | Received
    | PayloadOffered
    | PayloadWaiting
    | PayloadStored
    | Executed
    | BlocksReceived
    | AskedAhead
)


# --- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PersistSafety:
    """Make the safety state durable, and `proposal` (the block just voted for, with its payload) before it."""

    state: SafetyState
    proposal: Proposal | None


@dataclass(frozen=True, slots=True)
class StoreProposal:
    """Keep this certified or proposed block; it need not be durable before the next effect. Answers peers' syncs."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class SignAndSend:
    """Sign the statement with the validator's key, send it to `recipients`, and hand it back as `Received` from
    ourselves.

    `recipients` never names us. Only what an earlier `PersistSafety` covers is ever asked to be signed.
    """

    statement: Statement
    recipients: tuple[ReplicaIndex, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message that needs no new signature (a repetition, or certificates)."""

    message: Message
    recipients: tuple[ReplicaIndex, ...]


@dataclass(frozen=True, slots=True)
class RequestPayload:
    """We lead `view` and want to propose on top of the block `parent_hash`: answer with `PayloadOffered` at once,
    leaving out what `ancestors` (uncommitted, oldest first) already order."""

    view: int
    parent_hash: bytes
    ancestors: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class EnsurePayload:
    """Get everything the block orders (from `sender` first); answer with `PayloadStored`."""

    header: Header
    sender: ReplicaIndex


@dataclass(frozen=True, slots=True)
class FetchBlocks:
    """Ask `peer` (then others) for the blocks above `from_height`; the certified one that `target` names is missing.

    Repeated while the block is missing: a shell that has a request under way may drop it. Answers may come twice.
    """

    peer: ReplicaIndex
    from_height: int
    target: QC


@dataclass(frozen=True, slots=True)
class Commit:
    """Execute this block next: it extends the one committed before it, and will never be undone. `qc` certifies it."""

    proposal: Proposal
    qc: QC


@dataclass(frozen=True, slots=True)
class EpochClosed:
    """The epoch is over here: its last block is executed, and a block of its own validators that names the root after
    it is certified. This core does nothing more; the shell makes the closing blocks durable, then starts the core of
    the next epoch, and hands it the messages that came early.

    Attributes:
        edge: The last block of the epoch, on which the next one stands.
        state_root: The root after it.
        closing: The blocks above it, oldest first, none of which is ever executed; the last has it for its anchor.
        qc: The certificate of the last of them.
        early: Messages of the next epoch that came before its core, unchecked.
    """

    edge: Header
    state_root: bytes
    closing: tuple[Proposal, ...]
    qc: QC
    early: tuple[Received, ...]


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `WokenUp` at this moment of the monotonic clock; replaces the one before."""

    monotonic_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """Something worth a log line and a counter: `kind` is stable, `details` are its values."""

    kind: str
    details: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class Accuse:
    """A validator contradicted itself: what proves it. Once for each offence that we notice; it may come again after a
    restart. Nothing has to be done with it, and whatever is done may take its time."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Halt:
    """Our executed root differs from the one a quorum certified, or the chain contradicts itself: stop the process."""

    reason: str


Effect = (
    PersistSafety
    | StoreProposal
    | SignAndSend
    | Send
    | RequestPayload
    | EnsurePayload
    | FetchBlocks
    | Commit
    | EpochClosed
    | WakeAt
    | Report
    | Accuse
    | Halt
)
