"""The high-water rule, one contradiction a row: docs/FAULTS.md rows 1, 2 and 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.events import SafetyState
from consensus.types import QC, Anchor, Header, Proposal, Timeout, Vote, signing_message
from consensus.types import Statement as Said
from genesis.codec import encode
from genesis.errors import Rejected
from genesis.statements import Phase
from node.signer_guard import (
    MARK_BYTES_MAX,
    VOTES,
    Kind,
    Last,
    Mark,
    Statement,
    bars,
    decode_mark,
    encode_mark,
    permit,
    raised,
    signed,
)
from node.signing import fields_of, known_of

CHAIN_ID = b"\x51" * 32
A, B = b"\xaa" * 32, b"\xbb" * 32


def proposal(view: int, block: bytes = A, epoch: int = 0) -> Statement:
    """A proposal."""
    return Statement(Kind.PROPOSAL, epoch, view, 0, block)


def vote(view: int, block: bytes = A, kind: Kind = Kind.CERTIFY, height: int = 7, epoch: int = 0) -> Statement:
    """A vote, HotStuff's unless it says otherwise."""
    return Statement(kind, epoch, view, height, block)


def timeout(view: int, high_qc_view: int, epoch: int = 0) -> Statement:
    """A timeout."""
    return Statement(Kind.TIMEOUT, epoch, view, high_qc_view, None)


def after(*said: Statement, lock_view: int = 0) -> Mark:
    """The mark of a key that signed these, in order, told of this lock with each."""
    mark = Mark()
    for each in said:
        mark = permit(mark, each, lock_view)
    return mark


REFUSED: list[tuple[str, Mark, Statement, str]] = [
    # what happened, the mark, what is asked, the rule that forbids it
    ("another block in one view", after(proposal(5)), proposal(5, B), "signed_otherwise"),
    ("the same block in another epoch's name", after(proposal(5, epoch=1)), proposal(5), "old_epoch"),
    ("a block of an earlier view", after(proposal(5)), proposal(4), "below_mark"),
    ("another vote in one view", after(vote(5)), vote(5, B), "signed_otherwise"),
    ("a vote for one block at another height", after(vote(5)), vote(5, height=8), "signed_otherwise"),
    ("a vote in an earlier view", after(vote(5)), vote(4), "below_mark"),
    ("another PREPARE", after(vote(5, kind=Kind.PREPARE)), vote(5, B, Kind.PREPARE), "signed_otherwise"),
    ("an earlier PREPARE", after(vote(5, kind=Kind.PREPARE)), vote(4, A, Kind.PREPARE), "below_mark"),
    ("another COMMIT", after(vote(5, kind=Kind.COMMIT)), vote(5, B, Kind.COMMIT), "signed_otherwise"),
    ("an earlier COMMIT", after(vote(5, kind=Kind.COMMIT)), vote(4, A, Kind.COMMIT), "below_mark"),
    ("another QC in one timeout", after(timeout(5, 3)), timeout(5, 4), "signed_otherwise"),
    ("a timeout of an earlier view", after(timeout(5, 3)), timeout(4, 3), "below_mark"),
    ("a vote in a view that was given up", after(timeout(5, 3)), vote(5), "given_up"),
    ("a PREPARE in a view that was given up", after(timeout(5, 3)), vote(5, kind=Kind.PREPARE), "given_up"),
    ("a COMMIT below a view that was given up", after(timeout(5, 3)), vote(4, kind=Kind.COMMIT), "given_up"),
    ("a proposal in a view that was given up", after(timeout(5, 3)), proposal(5), "given_up"),
    ("a timeout below a view that was voted in", after(vote(5)), timeout(4, 3), "voted_beyond"),
    ("a COMMIT below a PREPARE", after(vote(6, kind=Kind.PREPARE)), vote(5, kind=Kind.COMMIT), "voted_beyond"),
    ("a PREPARE below a COMMIT", after(vote(6, kind=Kind.COMMIT)), vote(5, kind=Kind.PREPARE), "voted_beyond"),
    ("a timeout below a COMMIT", after(vote(5, kind=Kind.COMMIT)), timeout(4, 4), "voted_beyond"),
    ("a timeout below the QC voted on", after(vote(5), lock_view=4), timeout(5, 3), "below_lock"),
    ("a later timeout below the QC voted on", after(vote(5), lock_view=4), timeout(9, 3), "below_lock"),
    ("a timeout below the QC reported", after(timeout(5, 4)), timeout(6, 3), "below_lock"),
    ("a statement of an earlier epoch", after(vote(5, epoch=1)), vote(6), "old_epoch"),
    ("an earlier epoch, by another kind", after(vote(5, epoch=1)), timeout(6, 5), "old_epoch"),
    ("a vote at a bar", bars(0, 5, 3, 4), vote(5), "below_mark"),
    ("a vote below a bar", bars(0, 5, 3, 4), vote(4), "below_mark"),
    ("a PREPARE at a bar", bars(0, 5, 3, 4), vote(5, kind=Kind.PREPARE), "below_mark"),
    ("a COMMIT below a bar", bars(0, 5, 3, 4), vote(4, kind=Kind.COMMIT), "below_mark"),
    ("a proposal at a bar", bars(0, 5, 3, 4), proposal(3), "below_mark"),
    ("a timeout below a bar", bars(0, 5, 3, 4), timeout(4, 4), "voted_beyond"),
    ("a timeout below a bar's lock", bars(0, 5, 3, 4), timeout(5, 3), "below_lock"),
]

SIGNED: list[tuple[str, Mark, Statement]] = [
    ("the first of all", Mark(), vote(1)),
    ("the next view, another block", after(vote(5)), vote(6, B)),
    ("many views later", after(vote(5)), vote(2**48)),
    ("a proposal and a vote in one view", after(proposal(5)), vote(5)),
    ("a vote, then the next proposal", after(vote(5)), proposal(6)),
    ("a PREPARE and a COMMIT in one view", after(vote(5, kind=Kind.PREPARE)), vote(5, kind=Kind.COMMIT)),
    ("a PREPARE behind the COMMIT of its view", after(vote(5, kind=Kind.COMMIT)), vote(5, kind=Kind.PREPARE)),
    ("giving up a view that was voted in", after(vote(5), lock_view=4), timeout(5, 4)),
    ("giving it up with a higher QC", after(vote(5), lock_view=4), timeout(6, 5)),
    ("a vote behind a timeout", after(timeout(5, 4)), vote(6)),
    ("a later epoch", after(vote(5)), vote(6, epoch=1)),
    ("giving up a view at a bar", bars(0, 5, 3, 4), timeout(5, 4)),
    ("a COMMIT at a bar", bars(0, 5, 3, 4), vote(5, kind=Kind.COMMIT)),
    ("a vote above a bar", bars(0, 5, 3, 4), vote(6)),
]


@pytest.mark.parametrize(("mark", "asked", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_contradicts_is_refused_by_its_rule(mark: Mark, asked: Statement, code: str) -> None:
    """Two nodes with one key, or a node from a backup, get no second word in a view; and the refusal says why."""
    with pytest.raises(Rejected) as refusal:
        permit(mark, asked, 0)
    assert refusal.value.code == code
    assert refusal.value.details["view"] == asked.view
    assert refusal.value.details["kind"] == asked.kind.name.lower()


@pytest.mark.parametrize(("mark", "asked"), [row[1:] for row in SIGNED], ids=[row[0] for row in SIGNED])
def test_what_an_honest_node_says_is_signed_and_remembered(mark: Mark, asked: Statement) -> None:
    """A refusal stops a node, so none may be false; and what was signed once is the mark from then on."""
    now = permit(mark, asked, 0)
    assert now.last[asked.kind] == Last(asked.view, asked)
    assert permit(now, asked, 0) is now


@pytest.mark.parametrize("said", [proposal(5), vote(5), vote(5, kind=Kind.COMMIT), timeout(5, 3)])
def test_repetition_is_signed_again_and_changes_nothing(said: Statement) -> None:
    """A node whose connection broke asks again; also when more has been signed since, of other kinds."""
    mark = after(said)
    assert permit(mark, said, 99) is mark
    later = signed(signed(mark, timeout(5, 4), 4), proposal(5), 4)
    if said.kind is not Kind.TIMEOUT:
        assert permit(later, said, 0) is later


def test_refusal_shows_both_statements() -> None:
    """The operator must see what contradicts what, not that something does."""
    with pytest.raises(Rejected, match=f"asked=epoch 0, block {B.hex()}.*signed=epoch 0, block {A.hex()}"):
        permit(after(vote(5)), vote(5, B), 0)
    with pytest.raises(Rejected, match="lock_view=4"):
        permit(after(vote(5), lock_view=4), timeout(6, 3), 0)


def test_lock_rises_with_what_is_signed_and_never_falls() -> None:
    """A second node that lags must not report a QC below what the first has voted on."""
    mark = permit(Mark(), vote(5), 4)
    assert permit(mark, vote(6), 2).lock_view == 4
    assert permit(mark, timeout(6, 5), 0).lock_view == 5


def test_what_was_signed_before_never_lowers_a_mark() -> None:
    """A node notes every signature that it is given, repetitions of old ones too."""
    mark = bars(0, 9, 9, 8)
    assert signed(mark, vote(5), 4) == mark
    assert signed(mark, vote(9), 4) == mark


@pytest.mark.parametrize(
    ("ours", "shown", "voted_view", "said"),
    [
        (Mark(), bars(0, 5, 0, 0), 5, None),
        (bars(0, 5, 0, 0), Mark(), 5, None),
        (after(vote(5)), after(vote(6)), 6, vote(6)),
        (after(vote(5)), bars(0, 5, 0, 0), 5, vote(5)),
        (bars(0, 5, 0, 0), after(vote(5)), 5, None),
        (after(vote(5)), after(vote(5)), 5, vote(5)),
    ],
)
def test_what_a_node_shows_only_raises_the_mark(
    ours: Mark, shown: Mark, voted_view: int, said: Statement | None
) -> None:
    """A signer from a backup learns what was signed since; a node from a backup makes nobody forget."""
    now = raised(ours, shown)
    assert now.last[Kind.CERTIFY] == Last(voted_view, said)
    assert raised(now, shown) == now
    assert raised(now, ours) == now


def test_timeout_that_is_shown_may_be_said_again_only_if_the_lock_allows_it() -> None:
    """A node remembers a timeout that it never got signed; a twin with one key may have voted on a higher QC since."""
    shown = bars(0, 8, 3, 6, timeout(8, 5))
    now = raised(Mark(), shown)
    assert (now.lock_view, permit(now, timeout(8, 5), 6)) == (6, now)
    locked = after(vote(8), lock_view=7)
    now = raised(locked, shown)
    assert now.last[Kind.TIMEOUT] == Last(8)
    for each in (timeout(8, 5), timeout(8, 7), vote(8, B)):
        with pytest.raises(Rejected, match=r"below_mark|signed_otherwise"):
            permit(now, each, 0)


def test_showing_another_statement_of_one_view_is_refused() -> None:
    """Then the key signs elsewhere too; nothing that this signer does can mend that."""
    with pytest.raises(Rejected, match="signed_otherwise"):
        raised(after(vote(5)), after(vote(5, B)))


def test_bars_of_all_kinds_epoch_and_lock_are_taken_over() -> None:
    """Each field of what is shown counts by itself."""
    mark = raised(after(vote(9)), bars(0, 5, 12, 8))
    assert (mark.epoch, mark.lock_view) == (0, 8)
    assert [each.view for each in mark.last] == [12, 9, 5, 4, 0]


def test_views_and_locks_begin_anew_in_an_epoch_and_an_older_one_is_past() -> None:
    """An epoch has views of its own: what was said in the last one forbids nothing, and nothing is said in it again."""
    mark = raised(after(vote(9), timeout(9, 8)), bars(2, 5, 12, 8))
    assert (mark.epoch, mark.lock_view) == (2, 8)
    assert [each.view for each in mark.last] == [12, 5, 5, 4, 0]
    assert raised(mark, bars(1, 50, 50, 50)) == mark
    mark = permit(mark, proposal(1, epoch=3), 0)
    assert (mark.epoch, mark.lock_view, mark.voted_view) == (3, 0, 0)
    with pytest.raises(Rejected, match="old_epoch"):
        permit(mark, vote(99, epoch=2), 98)


STATEMENTS = st.one_of(
    st.builds(proposal, st.integers(1, 6), st.sampled_from([A, B])),
    st.builds(vote, st.integers(1, 6), st.sampled_from([A, B]), st.sampled_from(sorted(VOTES))),
    st.builds(timeout, st.integers(1, 6), st.integers(0, 5)),
)


@given(st.lists(st.tuples(STATEMENTS, st.integers(0, 5)), max_size=40))
def test_no_order_of_questions_gets_two_statements_that_contradict(asked: Sequence[tuple[Statement, int]]) -> None:
    """The promise itself, in words that do not share the rule's code: whatever two nodes ask, in whatever order."""
    mark, said = Mark(), list[tuple[Statement, int]]()
    for statement, lock_view in asked:
        try:
            now = permit(mark, statement, lock_view)
        except Rejected:
            continue
        if now is not mark:
            said.append((statement, lock_view))
        mark = now
    assert len({(each.kind, each.view) for each, _ in said}) == len(said)
    for at, (later, _) in enumerate(said):
        for earlier, lock_view in said[:at]:
            if later.kind is Kind.TIMEOUT:
                assert later.number >= lock_view
                assert later.view >= earlier.view or earlier.kind is Kind.PROPOSAL
            elif earlier.kind is Kind.TIMEOUT:
                assert later.view > earlier.view
            elif earlier.kind in VOTES and later.kind in VOTES:
                assert later.view >= earlier.view


@given(st.lists(STATEMENTS, max_size=12), st.integers(0, 2**48), st.integers(0, 2**32))
def test_mark_is_read_back(said: Sequence[Statement], lock_view: int, epoch: int) -> None:
    """What the file and the greeting carry."""
    mark = Mark(epoch)
    for each in said:
        mark = signed(mark, each, lock_view)
    assert decode_mark(encode_mark(mark)) == mark


def test_longest_mark_fits() -> None:
    """A mark that does not fit its slot would stop the signer at the worst moment."""
    longest = [Statement(kind, 2**32, 2**48, 2**48, b"\xff" * 32) for kind in Kind]
    said = [replace(each, number=0) if each.kind is Kind.PROPOSAL else each for each in longest]
    said = [replace(each, block_hash=None) if each.kind is Kind.TIMEOUT else each for each in said]
    mark = Mark(2**32, 2**48, tuple(Last(each.view, each) for each in said))
    assert len(encode_mark(mark)) < MARK_BYTES_MAX - 64
    assert decode_mark(encode_mark(mark)) == mark


NOTHING = [0, None]


@pytest.mark.parametrize(
    "values",
    [
        [0, 0, [NOTHING] * 4],
        [0, 0, [NOTHING] * 6],
        [0, 2**48 + 1, [NOTHING] * 5],
        [-1, 0, [NOTHING] * 5],
        [0, 0, [[0, [0, 0, A]], *[NOTHING] * 4]],
        [0, 0, [[5, [0, 1, A]], *[NOTHING] * 4]],
        [0, 0, [[5, [0, 0, None]], *[NOTHING] * 4]],
        [0, 0, [*[NOTHING] * 4, [5, [0, 3, A]]]],
        [0, 0, [[5, [0, 0, A[:31]]], *[NOTHING] * 4]],
    ],
)
def test_mark_of_another_form_is_refused(values: object) -> None:
    """A proposal with a number, a timeout with a block, something said in view 0: nobody signs these."""
    with pytest.raises(Rejected, match="malformed"):
        decode_mark(encode(values))


def test_signer_signs_what_the_core_verifies() -> None:
    """The signer builds the message itself, from the fields; the two must never drift apart."""
    qc = QC(0, 3, Phase.CERTIFY, 2, A, ())
    header = Header(0, 3, 5, 1, A, 3, 1_000, Anchor(0, A, B), (B,))
    votes = [Vote(0, 5, phase, 3, B, 1) for phase in Phase]
    statements: list[Said] = [Proposal(6, header, qc, None), *votes, Timeout(0, 5, qc, None, 1)]
    assert [fields_of(each).kind for each in statements] == list(Kind)
    assert [fields_of(each).view for each in statements] == [6, 5, 5, 5, 5]
    for statement in statements:
        assert fields_of(statement).message(CHAIN_ID) == signing_message(CHAIN_ID, statement)


def test_safety_state_says_what_its_key_may_have_signed() -> None:
    """What a node shows from its start: bars where it knows views alone, the timeout word for word."""
    qc = QC(0, 3, Phase.CERTIFY, 2, A, ())
    said = Timeout(0, 8, qc, None, 1)
    state = SafetyState(2, 8, 6, qc, None, said)
    assert known_of(state) == bars(2, 8, 6, 3, fields_of(said))
    assert known_of(replace(state, last_timeout=None)) == bars(2, 8, 6, 3)
    assert known_of(None) == Mark()
