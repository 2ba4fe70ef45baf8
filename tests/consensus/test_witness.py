"""Who is accused: everybody who contradicts itself where somebody sees it, and nobody else. Rows are those of
docs/FAULTS.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consensus import events as ev
from consensus.types import QC, TC, Certificates, Message, Proposal, Timeout, TimeoutSignature, Vote
from consensus.witness import WITNESS_WINDOW_VIEWS
from genesis.document import ENGINES
from genesis.evidence import Offence, decode_evidence, encode_evidence
from genesis.statements import Phase
from tests.consensus.bench import GENESIS_QC, Bench, make_proposal, make_qc, make_tc, make_timeout
from tests.consensus.cluster import Cluster, Node, sign
from tests.contracts.consortium import bonded_consortium, signer

fast = pytest.mark.usefixtures("fast_signatures")
FIRST = make_proposal(1)
RIVAL = make_proposal(1, time_unix_ms=FIRST.header.time_unix_ms + 9)
SECOND = make_proposal(2, FIRST.header)
QC_OF_FIRST = make_qc(FIRST.header)
EMPTY_TC = make_tc(1, *[GENESIS_QC] * 3)


def vote(proposal: Proposal, voter: int, **changes: Any) -> Vote:
    """A signed vote."""
    header = proposal.header
    return sign(replace(Vote(0, header.view, Phase.CERTIFY, header.height, header.block_hash, voter), **changes), voter)


def tc_reporting(view: int, voter: int, high_qc: QC) -> TC:
    """A TC in which everybody reports genesis' QC, but `voter` this one."""
    marks = [make_timeout(view, high_qc if each == voter else GENESIS_QC, each) for each in (1, 2, 3)]
    return TC(0, view, high_qc, tuple(TimeoutSignature(t.voter, t.high_qc.view, t.signature) for t in marks))


def accused(*messages: Message) -> list[tuple[Offence, int, int]]:
    """Whom a core accuses that hears these from its peers."""
    bench = Bench()
    for each in messages:
        bench.receive(each)
    return [(each.offence, each.view, each.validator) for each in bench.accusations]


TIMEOUT_2 = make_timeout(2, GENESIS_QC, 2, EMPTY_TC)
LATE = (FIRST, SECOND, make_proposal(3, SECOND.header))
CASES: list[tuple[str, tuple[Message, ...], list[tuple[Offence, int, int]]]] = [
    ("two proposals", (FIRST, RIVAL), [(Offence.PROPOSAL, 1, 1)]),
    ("one proposal twice", (FIRST, FIRST), []),
    ("two votes", (vote(FIRST, 2), vote(RIVAL, 2)), [(Offence.VOTE, 1, 2)]),
    ("two votes for one hash at two heights", (vote(FIRST, 2), vote(FIRST, 2, height=2)), [(Offence.VOTE, 1, 2)]),
    ("one vote twice", (vote(FIRST, 2), vote(FIRST, 2)), []),
    ("votes of two voters", (vote(FIRST, 2), vote(RIVAL, 3)), []),
    ("a vote against one in a QC", (vote(RIVAL, 2), FIRST, SECOND), [(Offence.VOTE, 1, 2)]),
    ("a vote behind its QC", (FIRST, SECOND, vote(RIVAL, 2)), [(Offence.VOTE, 1, 2)]),
    ("a vote three views late", (*LATE, vote(RIVAL, 3)), [(Offence.VOTE, 1, 3)]),
    ("a late vote for the certified block", (*LATE, vote(FIRST, 3)), []),
    ("a late proposal", (*LATE, RIVAL), [(Offence.PROPOSAL, 1, 1)]),
    (
        "two timeouts",
        (TIMEOUT_2, make_timeout(2, QC_OF_FIRST, 2)),
        [(Offence.TIMEOUT, 2, 2)],
    ),
    (
        "a timeout against one in a TC",
        (TIMEOUT_2, Certificates(GENESIS_QC, tc_reporting(2, 2, QC_OF_FIRST))),
        [(Offence.TIMEOUT, 2, 2)],
    ),
    (
        "a timeout behind its TC",
        (Certificates(GENESIS_QC, make_tc(2, *[GENESIS_QC] * 3)), make_timeout(2, QC_OF_FIRST, 2)),
        [(Offence.TIMEOUT, 2, 2)],
    ),
    ("one timeout twice", (TIMEOUT_2, TIMEOUT_2), []),
    ("a vote and a timeout of one view", (vote(FIRST, 2), make_timeout(1, GENESIS_QC, 2)), []),
    ("a vote of another key's making", (vote(FIRST, 2), replace(vote(RIVAL, 2), signature=bytes(64))), []),
    ("a forged late vote", (*LATE, replace(vote(RIVAL, 2), signature=bytes(64))), []),
    ("a forged late timeout", (Certificates(GENESIS_QC, EMPTY_TC), replace(make_timeout(1, QC_OF_FIRST, 2))), []),
    (
        "an offence three times over",
        (vote(FIRST, 2), *(vote(make_proposal(1, time_unix_ms=2_000_000 + n), 2) for n in range(3))),
        [(Offence.VOTE, 1, 2)],
    ),
]


@fast
@pytest.mark.parametrize(("messages", "found"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_who_contradicts_itself_is_accused_and_nobody_else(
    messages: tuple[Message, ...], found: list[tuple[Offence, int, int]]
) -> None:
    """Rows 1 and 2: wherever both halves were seen, sent or inside a certificate, on time or late; each once."""
    assert accused(*messages) == found


@fast
def test_what_is_remembered_of_others_is_bounded() -> None:
    """Rows 24 and 29: what lies behind the window is forgotten, however long the chain."""
    bench, parent = Bench(), FIRST
    bench.receive(FIRST)
    for view in range(2, 40):
        parent = make_proposal(view, parent.header)
        bench.receive(parent)
    # In each view of the window and the present one: the leader's proposal, three votes of the QC and our own.
    assert dict(bench.core.held)["witnessed"] <= (WITNESS_WINDOW_VIEWS + 2) * 5


# --- a network with one that is two-faced -----------------------------------------------------------------------------


class TwoFaced(Node):
    """Makes two statements of one kind where the protocol allows one, and sends them to two halves of the others; two
    timeouts to everybody, since a half that has a TC hears no more of them."""

    def __init__(self, cluster: Cluster, name: int, index: int, kind: type[Message]) -> None:
        super().__init__(cluster, name, index)
        self.kind = kind
        cluster.byzantine.add(index)

    def carry_out(self, effect: ev.Effect) -> None:
        """One effect, complete before the next; a statement of the kind is said in two ways."""
        if isinstance(effect, ev.SignAndSend) and isinstance(effect.statement, self.kind) and effect.recipients:
            other = self.other(effect.statement)
            if other is not None:
                half = 0 if self.kind is Timeout else len(effect.recipients) // 2
                super().carry_out(ev.SignAndSend(effect.statement, effect.recipients[: half or None]))
                self.cluster.send(self, self.cluster.sign(self, other), effect.recipients[half:])
                return
        super().carry_out(effect)

    def other(self, statement: Message) -> Vote | Proposal | Timeout | None:
        """What it says to the second half."""
        match statement:
            case Vote():
                return replace(statement, block_hash=bytes(reversed(statement.block_hash)))
            case Proposal(header=header):
                return replace(statement, header=replace(header, time_unix_ms=header.time_unix_ms + 1))
            case Timeout(high_qc=high_qc, tc=tc) if tc is not None and high_qc.view > 0:
                return replace(statement, high_qc=GENESIS_QC)
        return None


def two_faced_cluster(engine: str, kind: type[Message], seed: int, **chain: Any) -> Cluster:
    """Validator 3 of four contradicts itself in this kind; the chain grows all the same."""
    cluster = Cluster(engine=engine, seed=seed, real_signatures=bool(chain), **chain)
    cluster.nodes[3] = TwoFaced(cluster, 3, 3, kind)
    cluster.loss = 0.02
    if kind is Timeout:
        # A view that follows one which failed can be given up in two ways: two leaders in a row are not heard.
        cluster.link = lambda sender, _, message: not (isinstance(message, Proposal) and sender in (1, 2))
    return cluster


@fast
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [Vote, Proposal, Timeout])
@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_two_faced_is_found_out(engine: str, kind: type[Message], seed: int) -> None:
    """Rows 1 and 2: `Cluster` fails on the first accusation of an honest key, also long after; the guilty one must
    come as well, and of nothing else."""
    cluster = two_faced_cluster(engine, kind, seed).start()
    cluster.load(50)

    def found() -> set[tuple[int, str]]:
        return {(each.validator, each.offence.name) for node in cluster.nodes[:3] for each in node.accusations}

    cluster.run_until(lambda: bool(found()), 40_000)
    cluster.run(6_000)
    assert found() == {(3, kind.__name__.upper())}


@fast
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(6))
def test_nobody_honest_is_accused_whatever_fails(engine: str, seed: int) -> None:
    """Oracle A over crashes between any two effects, restarts, wiped homes, loss, duplicates and reordering."""
    cluster = Cluster(engine=engine, seed=seed)
    cluster.loss, cluster.duplication, cluster.delay_ms = 0.05, 0.1, (1, 200)
    cluster.start()
    cluster.load(100)
    for _ in range(40):
        node = cluster.nodes[cluster.random.randrange(4)]
        node.effects_until_crash = cluster.random.randrange(20)
        cluster.run(400)
        node.crash()
        if cluster.random.random() < 0.2:
            node.disk.committed.clear()
            node.disk.proposals.clear()
            node.disk.safety = None
        cluster.run(200)
        node.start()
        cluster.run(cluster.random.randrange(2_000))
    assert not any(node.accusations for node in cluster.nodes)


# --- from the core to the bond ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Vote, Proposal, Timeout])
def test_what_the_core_hands_on_slashes_the_bond_and_takes_the_power(kind: type[Message]) -> None:
    """What one core noticed convinces the state machine, which never saw a message: the bond shrinks in that block,
    the power goes at the next edge, and nobody else loses anything."""
    world = bonded_consortium()
    cluster = two_faced_cluster(
        "hotstuff", kind, seed=1, chain_id=world.document.chain_id, key=lambda index: signer(f"v{index}")
    )
    cluster.start()
    cluster.load(50)
    honest = cluster.nodes[:3]
    cluster.run_until(lambda: any(node.accusations for node in honest), 120_000)
    found = next(each for node in honest for each in node.accusations)
    evidence = decode_evidence(encode_evidence(found))
    assert [world.accuse(evidence, by) for by in ("v0", "v1")] == ["", "already_punished"]
    assert {name: world.bonded(name) for name in ("v0", "v1", "v2", "v3")} == {
        "v0": 1_000_000,
        "v1": 1_000_000,
        "v2": 1_000_000,
        "v3": 950_000,
    }
    world.to_edge()
    assert world.powers == {"v0": 1, "v1": 1, "v2": 1}
