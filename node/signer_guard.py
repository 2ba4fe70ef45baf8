"""The high-water rule: what one key may sign, given what it has signed. Pure; nothing here touches disk or socket.

The mark remembers, of each kind of statement, the last one that was signed, and the highest QC that a later timeout may
not fall below. Whoever asks gives a statement's fields, never a digest: so it shows what contradicts what.

Rules. A statement is signed if

1. *Repetition*: it is the last of its kind, to the field. (Ed25519 is deterministic, so nothing new leaves.) Else if
2. *Order*: its epoch is not below the mark's (``old_epoch``), and its view is above the last of its kind
   (``signed_otherwise``, ``below_mark``);
3. *Given up*: a vote's or a proposal's view is above the last one that was given up (``given_up``);
4. *Voted beyond*: a vote's or a timeout's view is not below one voted in, in whichever phase (``voted_beyond``);
5. *Lock*: a timeout reports no QC below the mark's lock (``below_lock``).

Each epoch has views and QCs of its own: a statement of a later epoch than the mark's is held against an empty mark.

Signing raises the mark, and the lock to what the asker names: the highest QC that it has voted on top of or reported.
No two statements permitted by these rules contradict each other, whoever asks for them and in whichever order.

What the rules take on trust is the lock. A node that names it too low, and lies later in a timeout, is Byzantine, and a
signer does not cure that. Two nodes with one key and a restored backup are not liars: they tell the truth about the
block in their hands, and that is enough for rule 5 to hold for both together.

A mark that a node shows (`raised`) may name a view without a statement, a *bar*: nothing of the kind in it or below. It
may also name a statement that the node means to have signed. That is taken up as said if it could be signed now, else
as a bar: what rule 1 repeats has been held against all the other rules.

Source: conditions V1, T1, T3, T4, T5 and P1 of the consensus core's safety rules, and L1 and L2 of PBFT's, restated
without certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import Final

from genesis.codec import Shape, Value, decode, encode, integer, optional, record, sequence
from genesis.errors import Detail, Rejected
from genesis.statements import Phase, proposal_message, timeout_message, vote_message
from genesis.values import DIGEST

MARK_BYTES_MAX: Final = 1_024
_EPOCH: Final = integer(0, 2**32)
VIEW: Final = integer(0, 2**48)


@unique
class Kind(IntEnum):
    """What a statement is; of each, a key signs one a view."""

    PROPOSAL = 0
    CERTIFY = 1
    PREPARE = 2
    COMMIT = 3
    TIMEOUT = 4


VOTES: Final = {Kind.CERTIFY: Phase.CERTIFY, Kind.PREPARE: Phase.PREPARE, Kind.COMMIT: Phase.COMMIT}
"""The kinds that are votes, and the phase of each."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The fields that a signature covers, of whatever kind.

    Attributes:
        kind: What it is.
        epoch: 0 to 2^32.
        view: 1 to 2^48.
        number: A vote's height, a timeout's `high_qc_view`, 0 for a proposal; 0 to 2^48.
        block_hash: The block of a vote or proposal; None for a timeout.
    """

    kind: Kind
    epoch: int
    view: int
    number: int
    block_hash: bytes | None

    def message(self, chain_id: bytes) -> bytes:
        """What its signature covers (`genesis.statements`)."""
        if self.block_hash is None:
            return timeout_message(chain_id, self.epoch, self.view, self.number)
        if self.kind is Kind.PROPOSAL:
            return proposal_message(chain_id, self.epoch, self.view, self.block_hash)
        return vote_message(chain_id, self.epoch, self.view, VOTES[self.kind], self.number, self.block_hash)

    @property
    def subject(self) -> str:
        """What it says, in words, beyond kind, epoch and view."""
        if self.block_hash is None:
            return f"high_qc_view {self.number}"
        return f"block {self.block_hash.hex()}" + (f" at height {self.number}" if self.kind in VOTES else "")


@dataclass(frozen=True, slots=True)
class Last:
    """The last of one kind: its view, and the statement; None for a bar."""

    view: int = 0
    said: Statement | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """All that is remembered of what one key has signed; the default is a key that has signed nothing.

    Attributes:
        epoch: No statement of an earlier epoch; what follows is of this one.
        lock_view: No timeout that reports a QC of a lower view.
        last: The last of each kind, in the order of `Kind`.
    """

    epoch: int = 0
    lock_view: int = 0
    last: tuple[Last, ...] = (Last(),) * len(Kind)

    @property
    def voted_view(self) -> int:
        """The highest view voted in, in whichever phase."""
        return max(self.last[kind].view for kind in VOTES)


def permit(mark: Mark, statement: Statement, lock_view: int) -> Mark:
    """The mark to make durable before `statement` is signed; `mark` itself for a repetition, which needs none.

    Args:
        mark: What has been signed.
        statement: What is to be signed.
        lock_view: The view of the highest QC that the asker has voted on top of or reported, this statement included.

    Raises:
        Rejected: The code of the rule that forbids it, with the values compared.
    """
    mark = _entering(mark, statement.epoch)
    last = mark.last[statement.kind]
    if statement == last.said:
        return mark
    _check_order(mark, statement, last)
    given_up_view = mark.last[Kind.TIMEOUT].view
    if statement.kind is not Kind.TIMEOUT and statement.view <= given_up_view:
        raise _refusal("given_up", "This key has given that view up.", statement, given_up_view=given_up_view)
    if statement.kind is not Kind.PROPOSAL and statement.view < mark.voted_view:
        raise _refusal("voted_beyond", "This key has voted in a later view.", statement, voted_view=mark.voted_view)
    if statement.kind is Kind.TIMEOUT and statement.number < mark.lock_view:
        message = "This key has voted on, or reported, a higher QC than the timeout reports."
        raise _refusal("below_lock", message, statement, lock_view=mark.lock_view)
    return signed(mark, statement, lock_view)


def signed(mark: Mark, statement: Statement, lock_view: int) -> Mark:
    """The mark after `statement`, which is permitted or has been signed already; the mark never falls."""
    mark = _entering(mark, statement.epoch)
    if statement.epoch < mark.epoch:
        return mark
    lock_view = max(mark.lock_view, lock_view, statement.number if statement.kind is Kind.TIMEOUT else 0)
    if statement.view <= mark.last[statement.kind].view:
        return replace(mark, lock_view=lock_view)
    last = (*mark.last[: statement.kind], Last(statement.view, statement), *mark.last[statement.kind + 1 :])
    return Mark(mark.epoch, lock_view, last)


def raised(mark: Mark, shown: Mark) -> Mark:
    """The mark that forbids what either forbids. Of two bars or statements in one view, ours stays.

    Raises:
        Rejected: ``signed_otherwise``: both know a statement of one kind and view, and not the same one.
    """
    if shown.epoch < mark.epoch:
        return mark
    mark = _entering(mark, shown.epoch)
    last = []
    for ours, theirs in zip(mark.last, shown.last, strict=True):
        if ours.view == theirs.view and ours.said and theirs.said and ours.said != theirs.said:
            raise _otherwise(theirs.said, ours.said)
        last.append(_as_permitted(mark, theirs) if theirs.view > ours.view else ours)
    return Mark(mark.epoch, max(mark.lock_view, shown.lock_view), tuple(last))


def bars(epoch: int, voted_view: int, proposed_view: int, lock_view: int, given_up: Statement | None = None) -> Mark:
    """The mark of whoever knows how far a key may have gone, and not what it said.

    Args:
        epoch: The epoch of what it said last.
        voted_view: No proposal is voted for in this view or below. PBFT's COMMIT is barred below it alone, since it
            follows a PREPARE of the same view.
        proposed_view: Nothing is proposed in this view or below.
        lock_view: No timeout reports a QC below this view.
        given_up: The last timeout, where it is known word for word; it may be said again.
    """
    views = {
        Kind.PROPOSAL: proposed_view,
        Kind.CERTIFY: voted_view,
        Kind.PREPARE: voted_view,
        Kind.COMMIT: max(0, voted_view - 1),
    }
    timeout = Last(given_up.view, given_up) if given_up is not None else Last()
    return Mark(epoch, lock_view, (*(Last(view) for view in views.values()), timeout))


def _entering(mark: Mark, epoch: int) -> Mark:
    """The mark, or an empty one of a later epoch."""
    return Mark(epoch) if epoch > mark.epoch else mark


def _as_permitted(mark: Mark, shown: Last) -> Last:
    """What is shown, its statement kept only where it could be signed now."""
    if shown.said is None:
        return shown
    try:
        permit(mark, shown.said, 0)
    except Rejected:
        return Last(shown.view)
    return shown


def _check_order(mark: Mark, statement: Statement, last: Last) -> None:
    """Rule 2."""
    if statement.epoch < mark.epoch:
        raise _refusal("old_epoch", "This key has signed in a later epoch.", statement, signed_epoch=mark.epoch)
    if statement.view == last.view:
        if last.said is None:
            raise _refusal("below_mark", "Whether this key has spoken in that view is not known.", statement)
        raise _otherwise(statement, last.said)
    if statement.view < last.view:
        raise _refusal("below_mark", "This key has signed in a later view.", statement, signed_view=last.view)


def _otherwise(statement: Statement, said: Statement) -> Rejected:
    message = "This key has signed another statement of this kind in that view."
    asked = f"epoch {statement.epoch}, {statement.subject}"
    return _refusal("signed_otherwise", message, statement, asked=asked, signed=f"epoch {said.epoch}, {said.subject}")


def _refusal(code: str, message: str, statement: Statement, **values: Detail) -> Rejected:
    return Rejected(code, message, kind=statement.kind.name.lower(), view=statement.view, **values)


# --- as bytes -------------------------------------------------------------------------------------------------------

STATEMENT: Final[Shape] = record(integer(0, len(Kind) - 1), _EPOCH, integer(1, 2**48), VIEW, optional(DIGEST))
_LAST: Final = record(VIEW, optional(record(_EPOCH, VIEW, optional(DIGEST))))
MARK: Final[Shape] = record(_EPOCH, VIEW, sequence(_LAST, len(Kind), len(Kind)))


def statement_values(statement: Statement) -> Value:
    """A statement as a value of the encoding."""
    return [int(statement.kind), statement.epoch, statement.view, statement.number, statement.block_hash]


def statement_of(values: Value) -> Statement:
    """The inverse of `statement_values`, of what has the shape `STATEMENT`.

    Raises:
        Rejected: ``malformed``: a block in a timeout, none in a vote or proposal, or a proposal with a number.
    """
    kind, epoch, view, number, block_hash = values
    statement = Statement(Kind(kind), epoch, view, number, block_hash)
    has_block, has_number = statement.kind is not Kind.TIMEOUT, statement.kind is not Kind.PROPOSAL
    if (block_hash is not None) != has_block or (number and not has_number):
        raise Rejected("malformed", "The statement has fields that its kind has not.", kind=statement.kind.name.lower())
    return statement


def mark_values(mark: Mark) -> Value:
    """A mark as a value of the encoding."""
    last = [[each.view, each.said and [each.said.epoch, each.said.number, each.said.block_hash]] for each in mark.last]
    return [mark.epoch, mark.lock_view, last]


def mark_of(values: Value) -> Mark:
    """The inverse of `mark_values`, of what has the shape `MARK`; raises `Rejected` ``malformed``."""
    epoch, lock_view, last = values
    return Mark(epoch, lock_view, tuple(_last_of(kind, *each) for kind, each in zip(Kind, last, strict=True)))


def encode_mark(mark: Mark) -> bytes:
    """The canonical bytes of a mark, at most `MARK_BYTES_MAX`."""
    return encode(mark_values(mark))


def decode_mark(data: bytes) -> Mark:
    """The inverse of `encode_mark`; raises `Rejected` (``too_large``, ``malformed``)."""
    return mark_of(decode(data, MARK, size_max=MARK_BYTES_MAX))


def _last_of(kind: Kind, view: int, said: Value) -> Last:
    if said is None:
        return Last(view)
    epoch, number, block_hash = said
    if view == 0:
        raise Rejected("malformed", "Nothing is said in view 0.", kind=kind.name.lower())
    return Last(view, statement_of((int(kind), epoch, view, number, block_hash)))
