"""Directed hunts: one Byzantine leader who knows what to do, and a network that helps it (`tests.mutants.stage`).

In their names X and R are rivals at height 1. A scene in which both are committed has broken agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from consensus.events import PersistSafety
from consensus.types import QC, Proposal, Timeout, Vote
from genesis.statements import Phase
from node.simulator.checks import Violation
from tests.mutants.model import Hunt
from tests.mutants.stage import PUPPET, Stage

JUNK = b"\x55" * 64
Scene = Callable[[Stage], None]
Forge = Callable[[Stage, Proposal, Phase], QC]


def scene(name: str, act: Scene, seeds: int = 2) -> Hunt:
    """A scene as a hunt."""
    return Hunt(name, lambda engine, seed: Stage(engine, seed).play(act), seeds)


# --- forged certificates ----------------------------------------------------------------------------------------------


def forged(forge: Forge) -> Scene:
    """Replica 1 is shown that X is certified, replica 2 that R is: with certificates that no quorum made."""

    def act(stage: Stage) -> None:
        for told, salt in ((1, 0), (2, 7)):
            first = stage.proposal(1, salt=salt)
            stage.tell(first, told)
            if stage.engine == "pbft":
                stage.show(forge(stage, first, Phase.PREPARE), told)
                stage.show(forge(stage, first, Phase.COMMIT), told)
                continue
            child = stage.proposal(2, forge(stage, first, Phase.CERTIFY), first.header)
            stage.tell(child, told)
            stage.show(forge(stage, child, Phase.CERTIFY), told)

    return act


def junk_signatures(stage: Stage, proposal: Proposal, phase: Phase) -> QC:
    """A quorum of names."""
    return stage.qc(proposal, ((index, JUNK) for index in range(3)), phase)


def one_voter(stage: Stage, proposal: Proposal, phase: Phase) -> QC:
    """The puppet's vote alone."""
    return stage.qc(proposal, [(PUPPET, stage.vote(proposal, phase))], phase)


def one_voter_thrice(stage: Stage, proposal: Proposal, phase: Phase) -> QC:
    """The puppet's vote, three times."""
    return stage.qc(proposal, [(PUPPET, stage.vote(proposal, phase))] * 3, phase)


def two_voters(stage: Stage, proposal: Proposal, phase: Phase) -> QC:
    """One short of a quorum: the puppet and the one that it fools."""
    given = stage.votes(proposal, phase)
    own = (PUPPET, stage.vote(proposal, phase))
    return stage.qc(proposal, [own, *sorted(given.items())], phase)


# --- a hidden certificate ---------------------------------------------------------------------------------------------


def commit_at_one(stage: Stage) -> Proposal:
    """X is committed, and only replica 1 knows; replica 2 has voted for what commits it. Replica 3 knows nothing of
    that. All but 1 give the view up."""
    first = stage.proposal(1)
    if stage.engine == "pbft":
        stage.commit(first, (1, 2), (1,))
        stage.show(stage.genesis_qc, 3)
        return first
    stage.tell(first, 1, 2, 3)
    qc = stage.certify(first, 1, 2, 3)
    stage.show(qc, 3)
    child = stage.proposal(2, qc, first.header)
    stage.tell(child, 1, 2)
    stage.show(stage.certify(child, 1, 2), 1)
    return first


def given_up_view(stage: Stage) -> int:
    """The view in which X was committed at one."""
    return 1 if stage.engine == "pbft" else 2


def hidden(stage: Stage) -> None:
    """The TC shows the certificate of X, and its leader proposes R all the same."""
    commit_at_one(stage)
    view = given_up_view(stage)
    tc = stage.tc(view, 2, 3)
    stage.commit(stage.proposal(view + 1, tc=tc, salt=7), (2, 3), (2, 3))


def hidden_in_tc(stage: Stage) -> None:
    """The leader's TC claims a lower certificate than its signers signed for."""
    commit_at_one(stage)
    view = given_up_view(stage)
    tc = stage.tc(view, 2, 3, claim=stage.genesis_qc)
    stage.commit(stage.proposal(view + 1, tc=tc, salt=7), (2, 3), (2, 3))


def fork_under_the_right_qc(stage: Stage) -> None:
    """R names the certificate of X as its own and genesis as its parent."""
    first = commit_at_one(stage)
    view = given_up_view(stage)
    tc = stage.tc(view, 2, 3)
    justify = tc.high_qc if stage.engine == "hotstuff" else stage.certify(first, 1, 2, phase=Phase.COMMIT)
    rival = stage.proposal(view + 1, tc=tc, salt=7)
    stage.commit(stage.sign(replace(rival, justify=justify)), (2, 3), (2, 3))


def other_block_again(stage: Stage) -> None:
    """PBFT: the leader proposes an old block again, and not the one that its TC prepares."""
    rival = stage.proposal(1, salt=7)
    commit_at_one(stage)
    tc = stage.tc(1, 2, 3)
    again: Proposal = stage.sign(replace(rival, view=2, tc=tc))
    stage.commit(again, (2, 3), (2, 3))


def committed_when_prepared(stage: Stage) -> None:
    """PBFT: X is prepared, and only replica 1 knows; R is committed by the others."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2)
    stage.show(stage.certify(first, 1, 2), 1)
    tc = stage.tc(1, 3, 2)
    stage.commit(stage.proposal(2, tc=tc, salt=7), (2, 3), (2, 3))


def gap(stage: Stage) -> None:
    """HotStuff: Y in view 3 on X in view 1; R in view 2 between them, and then on R."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2, 3)
    below = stage.certify(first, 1, 2, 3)
    tc1 = stage.tc(1, 1, 2, 3)
    rival = stage.proposal(2, tc=tc1, salt=7)
    stage.tell(rival, 1, 2, 3)
    beside = stage.certify(rival, 1, 2)
    tc2 = stage.tc(2, 2, 3)
    stage.show(stage.genesis_qc, 1, tc=tc2)
    late = stage.proposal(3, below, first.header, tc2)
    stage.tell(late, 2, 3)
    stage.show(stage.certify(late, 2, 3), 3)
    stage.show(beside, 1)
    tc3 = stage.tc(3, 1, 2)
    rest = stage.proposal(4, beside, rival.header, tc3)
    stage.tell(rest, 1, 2)
    last = stage.proposal(5, stage.certify(rest, 1, 2), rest.header)
    stage.tell(last, 1, 2)
    stage.show(stage.certify(last, 1, 2), 1, 2)


# --- what was said stands ---------------------------------------------------------------------------------------------


def vote_after_giving_up(stage: Stage) -> None:
    """A block for those that have given its view up."""
    stage.gave_up(1, 1, 2, 3)
    stage.tell(stage.proposal(1), 1, 2, 3)


def commit_after_giving_up(stage: Stage) -> None:
    """PBFT: a block is prepared once a replica has given its view up."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2)
    qc = stage.certify(first, 1, 2)
    stage.gave_up(1, 1, 2)
    stage.show(qc, 1, 2)


def restart(stage: Stage, *indices: int) -> None:
    """These crash and start."""
    for index in indices:
        stage.replicas[index].crash()
        stage.replicas[index].start()
    stage.settle()


def another_word_after_a_restart(stage: Stage) -> None:
    """A view entered by a TC is given up, a higher certificate comes, the replica restarts."""
    first = stage.proposal(1)
    stage.tell(first, 2, 3)
    qc = stage.certify(first, 2, 3)
    tc1 = stage.tc(1, 1, 2)
    stage.show(stage.genesis_qc, 1, 2, tc=tc1)
    stage.gave_up(2, 1, 2)
    restart(stage, 1, 2)
    stage.show(qc, 1, 2)
    stage.heap.run(500)


def two_blocks_around_a_restart(stage: Stage) -> None:
    """The leader shows another block once the voters have restarted."""
    stage.tell(stage.proposal(1), 1, 2, 3)
    restart(stage, 1, 2, 3)
    stage.tell(stage.proposal(1, salt=7), 1, 2, 3)


def two_blocks_around_a_crash(stage: Stage) -> None:
    """The same, and the crash comes while the first vote's state is made durable."""
    crash_at_sync(stage, 1, 2, 3)
    stage.tell(stage.proposal(1), 1, 2, 3)
    restart(stage, 1, 2, 3)
    stage.tell(stage.proposal(1, salt=7), 1, 2, 3)


def crash_at_sync(stage: Stage, *indices: int) -> None:
    """These crash when they next make a safety state durable; whether it then is, is chance."""
    for index in indices:
        stage.replicas[index].crash_at = PersistSafety


def another_word_after_a_crash(stage: Stage) -> None:
    """The crash comes while the timeout's state is made durable; then a higher certificate comes."""
    first = stage.proposal(1)
    stage.tell(first, 2, 3)
    qc = stage.certify(first, 2, 3)
    tc1 = stage.tc(1, 1, 2, 3)
    stage.show(stage.genesis_qc, 1, 2, 3, tc=tc1)
    crash_at_sync(stage, 1, 2, 3)
    stage.heap.run(500)
    restart(stage, 1, 2, 3)
    stage.show(qc, 1, 2, 3)
    stage.heap.run(500)


def lock_after_a_crash(stage: Stage) -> None:
    """PBFT: the crash comes while the COMMIT vote's state is made durable; then the view is given up."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2, 3)
    qc = stage.certify(first, 1, 2)
    crash_at_sync(stage, 1, 2, 3)
    stage.show(qc, 1, 2, 3)
    restart(stage, 1, 2, 3)
    stage.gave_up(1, 1, 2, 3)


def lock_of_one(stage: Stage) -> None:
    """Replica 2 alone knows that X is certified and votes on; it restarts, and a TC of those who do not know leads it
    past."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2, 3)
    qc = stage.certify(first, 1, 2, 3)
    stage.show(qc, 2)
    if stage.engine == "hotstuff":
        stage.tell(stage.proposal(2, qc, first.header), 2)
    restart(stage, 2)
    tc = stage.tc(1, 1, 3)
    stage.show(stage.genesis_qc, 2, tc=tc)
    stage.gave_up(2, 2)


# --- false statements -------------------------------------------------------------------------------------------------


def forged_votes(stage: Stage) -> None:
    """Votes in the name of others."""
    for told, salt in ((1, 0), (2, 7)):
        proposal = stage.proposal(1, salt=salt)
        stage.tell(proposal, told)
        header = proposal.header
        for phase in stage.rules.PHASES:
            for voter in range(4):
                vote = Vote(0, 1, phase, header.height, header.block_hash, voter, JUNK)
                stage.tell(vote, *({told} - {voter}), by=voter)


def forged_timeouts(stage: Stage) -> None:
    """Timeouts in the name of others: each view ends at once."""
    for view in range(1, 4):
        for voter in (0, 2, 3):
            stage.tell(Timeout(0, view, stage.genesis_qc, None, voter, JUNK), 1, by=voter)


def vote_of_another_epoch(stage: Stage) -> None:
    """The puppet's vote is of another epoch, for the right block."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2, 3)
    header = first.header
    given = stage.votes(first, stage.rules.PHASES[0])
    for voter, signature in given.items():
        vote = Vote(0, 1, stage.rules.PHASES[0], header.height, header.block_hash, voter, signature)
        stage.tell(vote, *({1, 2} - {voter}), by=voter) if voter != 3 else None
    odd = stage.sign(Vote(1, 1, stage.rules.PHASES[0], header.height, header.block_hash, PUPPET))
    stage.tell(odd, 1, 2)
    stage.heap.run(100)


def wrong_root(stage: Stage) -> None:
    """A block whose anchor names a root that nobody has."""
    anchor = replace(stage.block(1, stage.genesis_qc).anchor, state_root=b"\1" * 32)
    stage.commit(stage.proposal(1, anchor=anchor), (1, 2), (1, 2))


def goes_on(stage: Stage, index: int, why: str) -> None:
    """A replica that had to stop itself has not."""
    if stage.replicas[index].halted is None:
        raise Violation("halt", f"{index} goes on {why}")


def one_voice(stage: Stage) -> None:
    """The puppet alone gives up view 1, at once (C11: one honest replica must have had enough)."""
    stage.tell(stage.sign(Timeout(0, 1, stage.genesis_qc, None, PUPPET)), 1, 2, 3)
    if stage.timeouts(1):
        raise Violation("progress", f"{sorted(stage.timeouts(1))} give up view 1 on one voice")


def another_epoch(stage: Stage) -> None:
    """The leader's block is of an epoch that nobody is in."""
    stage.commit(stage.proposal(1, epoch=1), (1, 2), (1, 2))


def payload_that_is_nowhere(stage: Stage) -> None:
    """A block orders a batch that nobody has (row 16)."""
    stage.commit(stage.proposal(1, payload=(JUNK[:32],)), (1, 2), (1, 2))


def mixed_phases(stage: Stage) -> None:
    """PBFT: the COMMIT votes of the puppet and of one other are counted as PREPARE votes."""
    first = stage.proposal(1)
    stage.tell(first, 1)
    header = first.header
    for phase in stage.rules.PHASES:
        stage.tell(Vote(0, 1, phase, header.height, header.block_hash, PUPPET, stage.vote(first, phase)), 1)
