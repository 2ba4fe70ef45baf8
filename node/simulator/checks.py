"""The oracles: what must hold after every event, whatever was injected.

Rules, for replicas that are not Byzantine:

1. *agreement*: at each height they commit one block, each replica in order of height, and block time only rises.
2. *once*: an id (of an envelope; of a batch where the state only hashes) executes at one height.
3. *roots*: at each height they arrive at one state root.
4. *money*: no rule of `contracts.conservation` breaks.
5. *signatures*: an honest key never signs two statements of which one contradicts the other, over any number of
   restarts: votes of one view and phase are for one block, and so are proposals; no vote in a view that was given up,
   nor in one below a view voted in; one timeout a view; timeouts never go back, neither in their view nor in the QC
   that they report, and never report less than what was voted on top of or voted to commit. A replica whose old safety
   state was put back is let off.
6. *bounds*: what an engine and its shell keep for later stays within limits that no fault moves.
7. *halt*: no replica stops itself, unless its old safety state was put back.
8. *accusation*: evidence that an honest replica finds reads back from its bytes, its signatures are genuine, and whom
   it names is Byzantine, or had its old safety state put back. Nobody else is ever jailed.
9. *defect*: no invariant of ours breaks.
10. *epochs*: every epoch stands on one block and has one set, whoever comes to it; what closes an epoch is a certified
    chain of the old set's above its edge, which orders nothing and ends with a header that names the edge and its root;
    an honest key signs in the epoch of its engine and as the member that it then is, and, unless it has lost its
    memory, never again in an epoch before one that it has signed in.

The oracles see everything and tell nobody: no replica's behaviour depends on them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from consensus.events import EpochClosed
from consensus.types import OBSERVER, Header, Proposal, Statement, Timeout, Vote, epoch_of
from genesis.errors import Rejected
from genesis.evidence import Evidence, decode_evidence, encode_evidence, verify_evidence
from genesis.params import ChainParams
from genesis.statements import Phase, vote_message
from node.seats import with_certificates
from node.simulator.settings import Fault

if TYPE_CHECKING:
    from node.simulator.cluster import Cluster
    from node.simulator.ledger import Applied
    from node.simulator.replica import Replica
    from node.simulator.terms import Term

BLOCKS_HELD_MAX: Final = 160
ANCHORS_HELD_MAX: Final = 1_024
WAITING_MAX: Final = 2_000
"""Events that wait while a sync takes its time; of frames a peer has a handful under way at any moment."""

BACKLOG_ANSWERS_MAX: Final = 6
"""Committed blocks that wait for execution, in answers to sync requests: the engine stops asking at four. One more
certificate may commit all that it holds at once."""

WITNESSED_MAX_EACH: Final = 18 * 4
"""A proposal, a timeout and votes of two phases in each of the views that a core looks at."""
EARLY_MAX_EACH: Final = 5
"""One message of each kind: a proposal, two votes, a timeout, certificates."""

VOTES_HELD_MAX_EACH: Final = 18
"""A voter's votes: eight views either side of the current one, and both ends."""


class Violation(Exception):
    """An oracle's verdict: `rule` is its name, the message what was seen."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


class Oracle:
    """All of them. `counts` is what happened: faults injected, and what came of them."""

    def __init__(self, validators: int, params: ChainParams) -> None:
        self.counts: Counter[str] = Counter()
        self.decided: dict[int, bytes] = {}
        self._times: dict[int, int] = {}
        self._roots: dict[int, bytes] = {}
        self._executed: dict[bytes, int] = {}
        self._signed: dict[tuple[int, int], SignedHistory] = {}
        self._signed_epoch: dict[int, int] = {}
        self.terms: dict[int, Term] = {}
        self.jailed: set[int] = set()
        self._limits = {
            "blocks": BLOCKS_HELD_MAX,
            "anchors": ANCHORS_HELD_MAX,
            "votes": VOTES_HELD_MAX_EACH * validators,
            "witnessed": WITNESSED_MAX_EACH * validators,
            "early": EARLY_MAX_EACH * validators,
        }
        self._backlog_max = BACKLOG_ANSWERS_MAX * params.sync_blocks_max + BLOCKS_HELD_MAX

    def count(self, what: str, times: int = 1) -> None:
        """Something happened that a reader of the figures should know of."""
        self.counts[what] += times

    def on_commit(self, replica: Replica, header: Header, expected_height: int) -> None:
        """Rule 1."""
        if header.height != expected_height:
            raise Violation("agreement", f"{replica.name} commits height {header.height}, {expected_height} comes next")
        held = self.decided.setdefault(header.height, header.block_hash)
        if held != header.block_hash:
            one, other = held.hex()[:8], header.block_hash.hex()[:8]
            raise Violation("agreement", f"{replica.name} commits {other} at height {header.height}, another has {one}")
        if header.time_unix_ms <= self._times.get(header.height - 1, 0):
            raise Violation(
                "agreement", f"{replica.name} commits height {header.height} with a time that does not rise"
            )
        self._times[header.height] = header.time_unix_ms

    def on_executed(self, replica: Replica, header: Header, applied: Applied) -> None:
        """Rules 2 to 4."""
        height = header.height
        for each in applied.executed:
            first = self._executed.setdefault(each, height)
            if first != height:
                raise Violation("once", f"{replica.name} executes {each.hex()[:8]} at height {height}, and at {first}")
        if len(set(applied.executed)) != len(applied.executed):
            raise Violation("once", f"{replica.name} executes something twice at height {height}")
        root = self._roots.setdefault(height, applied.state_root)
        if root != applied.state_root:
            mine = applied.state_root.hex()[:8]
            raise Violation("roots", f"{replica.name} has root {mine} at height {height}, another {root.hex()[:8]}")
        for operator in applied.jailed:
            self.jailed.add(operator)
            if any(each.is_honest and not each.is_restored for each in replica.world.of_operator[operator]):
                raise Violation("accusation", f"{replica.name} jails {operator}, who is honest, at height {height}")
        if applied.alarms:
            raise Violation("money", f"{replica.name} at height {height}: {applied.alarms[0]}")

    def on_sign(self, replica: Replica, statement: Statement) -> None:
        """Rule 5."""
        epoch = epoch_of(statement)
        fault = self._history(replica, epoch).sign(statement)
        if replica.is_restored:
            return
        if fault is not None:
            raise Violation("signatures", f"{replica.name} {fault}")
        if epoch != replica.term.epoch or replica.term.place == OBSERVER:
            raise Violation("epochs", f"{replica.name} signs in epoch {epoch}, of which it is no member")
        last = self._signed_epoch.get(replica.operator, 0)
        if epoch < last and not replica.has_forgotten:
            raise Violation("epochs", f"{replica.name} signs in epoch {epoch} after epoch {last}")
        self._signed_epoch[replica.operator] = max(epoch, last)

    def on_voted(self, replica: Replica, proposal: Proposal) -> None:
        """The safety state of a vote for this proposal is durable; the vote follows."""
        self._history(replica, proposal.header.epoch).lock(proposal)

    def _history(self, replica: Replica, epoch: int) -> SignedHistory:
        held = self._signed.get((replica.operator, epoch))
        if held is None:
            held = self._signed[replica.operator, epoch] = SignedHistory()
        return held

    def on_epoch(self, replica: Replica, term: Term) -> None:
        """Rule 10: the replica comes to an epoch."""
        known = self.terms.setdefault(term.epoch, term)
        if known is term and term.epoch:
            self.counts[Fault.EPOCHS] += 1
            before = self.terms.get(term.epoch - 1)
            self.counts["sets changed"] += before is not None and before.members != term.members
        if (known.base.block_hash, known.base_root) != (term.base.block_hash, term.base_root):
            raise Violation("epochs", f"{replica.name} begins epoch {term.epoch} on another block or root")
        if known.members != term.members:
            raise Violation("epochs", f"{replica.name} has another set of validators in epoch {term.epoch}")

    def on_closed(self, replica: Replica, closed: EpochClosed) -> None:
        """Rule 10: the replica's epoch is over."""
        term, disk = replica.term, replica.disk
        why = closing_fault(closed, term, replica.world)
        if why is None and (
            disk.height != closed.edge.height or disk.committed[-1].block_hash != closed.edge.block_hash
        ):
            why = f"the edge {closed.edge.height} is not durable, height {disk.height} is"
        if why is None and disk.committed[-1].state_root != closed.state_root:
            why = "the root is another than that of the edge"
        if why is not None:
            raise Violation("epochs", f"{replica.name} closes epoch {term.epoch}: {why}")

    def after_event(self, replica: Replica) -> None:
        """Rule 6."""
        core = replica.core
        if core is None:
            return
        for name, entries in core.held:
            if entries > self._limits[name]:
                raise Violation("bounds", f"{replica.name} holds {entries} {name}, at most {self._limits[name]}")
        for name, entries, most in (
            ("blocks that wait for execution", len(replica.executor.backlog), self._backlog_max),
            ("events that wait for the disk", replica.waiting, WAITING_MAX),
        ):
            if entries > most:
                raise Violation("bounds", f"{replica.name} holds {entries} {name}, at most {most}")

    def on_halt(self, replica: Replica, reason: str) -> None:
        """Rule 7."""
        if not replica.is_restored:
            raise Violation("halt", f"{replica.name} stops itself: {reason}")

    def on_accusation(self, replica: Replica, evidence: Evidence) -> None:
        """Rule 8."""
        world, accused = replica.world, evidence.validator
        self.counts["accusations"] += 1
        self.counts[f"accusations of {evidence.offence.name.lower()}"] += 1
        term = self.terms.get(evidence.epoch)
        if term is None or not 0 <= accused < len(term.members):
            raise Violation("accusation", f"{replica.name} accuses somebody who never was: {evidence}")
        operator = term.operators[accused]
        if any(each.is_honest and not each.is_restored for each in world.of_operator[operator]):
            raise Violation("accusation", f"{replica.name} accuses {accused}, who is honest: {evidence}")
        if not _reads_back(evidence):
            raise Violation("accusation", f"{replica.name} finds evidence that does not read back: {evidence}")
        if world.settings.real_signatures:
            try:
                verify_evidence(evidence, world.chain_id, [each.public_key for each in term.members])
            except Rejected as fault:
                raise Violation("accusation", f"{replica.name} finds evidence that proves nothing: {fault}") from fault


def _reads_back(evidence: Evidence) -> bool:
    try:
        return decode_evidence(encode_evidence(evidence)) == evidence
    except Rejected:
        return False


def closing_fault(closed: EpochClosed, term: Term, world: Cluster) -> str | None:
    """What is wrong with the end of an epoch, for whoever trusts its validators and has its edge and root."""
    before = closed.edge
    if not closed.closing:
        return "nothing certifies the root of the edge"
    for proposal, qc in with_certificates(closed.closing, closed.qc):
        header = proposal.header
        if header.parent_hash != before.block_hash or header.height != before.height + 1 or header.payload:
            return f"block {header.height} does not follow, or orders something"
        if (qc.block_hash, qc.epoch, header.epoch) != (header.block_hash, term.epoch, term.epoch):
            return f"block {header.height} is not certified in its epoch"
        message = vote_message(world.chain_id, qc.epoch, qc.view, qc.phase, qc.height, qc.block_hash)
        signers = [
            voter
            for voter, mark in qc.signatures
            if world.signatures.is_valid(term.validators.member(voter).public_key, message, mark)
        ]
        if term.validators.power_of(signers) < term.validators.quorum_power:
            return f"block {header.height} is certified by less than a quorum"
        before = header
    anchor = before.anchor
    if (anchor.height, anchor.block_hash, anchor.state_root) != (
        closed.edge.height,
        closed.edge.block_hash,
        closed.state_root,
    ):
        return "the last header does not name the edge"
    return None


class SignedHistory:
    """What one key has signed in one epoch; `sign` says how a statement contradicts it."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int, int], bytes] = {}
        self._given_up_view = 0
        self._voted_view = 0
        self._reported_view = 0
        self._locked_view = 0

    def lock(self, proposal: Proposal) -> None:
        """A vote for this proposal is about to be signed."""
        self._locked_view = max(self._locked_view, proposal.justify.view)

    def sign(self, statement: Statement) -> str | None:
        """Take the statement in; what is wrong with it, if anything is."""
        if isinstance(statement, Timeout):
            return self._timeout(statement)
        if isinstance(statement, Vote):
            return self._vote(statement)
        header = statement.header
        return self._rival("proposal", statement.view, 0, header.block_hash)

    def _rival(self, kind: str, view: int, phase: int, block_hash: bytes) -> str | None:
        held = self._blocks.setdefault((kind, view, phase), block_hash)
        if held != block_hash:
            return f"signs two {kind}s in view {view}: for {held.hex()[:8]} and for {block_hash.hex()[:8]}"
        return None

    def _vote(self, vote: Vote) -> str | None:
        view = vote.view
        if view <= self._given_up_view:
            return f"votes in view {view} and has given up view {self._given_up_view}"
        if view < self._voted_view:
            return f"votes in view {view} after view {self._voted_view}"
        self._voted_view = view
        if vote.phase is Phase.COMMIT:
            self._locked_view = max(self._locked_view, view)
        return self._rival("vote", view, vote.phase, vote.block_hash)

    def _timeout(self, timeout: Timeout) -> str | None:
        view, reported = timeout.view, timeout.high_qc.view
        if view < max(self._given_up_view, self._voted_view):
            return f"gives up view {view} after view {max(self._given_up_view, self._voted_view)}"
        if view == self._given_up_view and reported != self._reported_view:
            return f"gives up view {view} reporting the QC of view {self._reported_view}, then that of view {reported}"
        if reported < max(self._reported_view, self._locked_view):
            known = max(self._reported_view, self._locked_view)
            return f"reports the QC of view {reported} in view {view} and knew one of view {known}"
        self._given_up_view, self._reported_view = view, reported
        return None
