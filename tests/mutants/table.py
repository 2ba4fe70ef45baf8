"""Every mutant: the rule that is taken out, and the hunt that must find it. docs/TESTING.md has the same names."""

from __future__ import annotations

from typing import Final

from genesis.statements import Phase
from tests.mutants import durability, edges, memories, patches, scenes, storms, verification
from tests.mutants.durability import is_proposal, is_timeout, is_vote, not_persisted, persisted_late
from tests.mutants.memories import memory
from tests.mutants.model import HOTSTUFF, PBFT, Mutant
from tests.mutants.patches import swap, together
from tests.mutants.scenes import forged, scene
from tests.mutants.strategies import Impostor, Usurper, strategy
from tests.mutants.verification import unchecked, unsigned

EPOCH = scene("another epoch", scenes.another_epoch)
EPOCHS_MIXED = together(patches.HEARS_EVERY_EPOCH, patches.NO_V2, patches.NO_L3, unchecked("_check_epoch"))
HIDDEN = scene("a hidden certificate", scenes.hidden)
ROUND_RESTART = scene("two blocks around a restart", scenes.two_blocks_around_a_restart)
ANOTHER_WORD = scene("another word after a restart", scenes.another_word_after_a_restart)
LOCK = scene("a lock of one", scenes.lock_of_one)
VIEW_TWO = memory("view 2 after amnesia", memories.view_two_again)
COMMIT = is_vote(Phase.COMMIT)
VOTE = is_vote(None)
NO_WORD = swap("consensus.signatory.Signatory.said_of", by=lambda _self, _view: None)

BY_CHAIN: Final = "the chain's certificates never fall, and every state that is persisted takes them in"
BY_VERIFIER: Final = "certificates and proposals of another epoch or phase are refused before"

RULES: Final = (
    Mutant("V1 off", "V1", patches.NO_V1, ROUND_RESTART),
    Mutant("V1 off, amnesia", "V1, C19", patches.NO_V1, VIEW_TWO),
    Mutant("V2 off", "V2", patches.NO_V2, EPOCH, masked=BY_VERIFIER),
    Mutant("V2 off, epoch unchecked", "V2", EPOCHS_MIXED, EPOCH),
    Mutant("V3 off", "V3", patches.NO_V3, scene("a fork under the right QC", scenes.fork_under_the_right_qc), HOTSTUFF),
    Mutant(
        "V3 off",
        "V3",
        patches.NO_V3,
        scene("a fork under the right QC", scenes.fork_under_the_right_qc),
        PBFT,
        masked="the certificate commits its block when it is learnt, and who lacks that block is no quorum",
    ),
    Mutant("V4 off", "V4", patches.NO_V4_HOTSTUFF, HIDDEN, HOTSTUFF),
    Mutant("V4 off, new blocks", "V4b", patches.NO_V4_PBFT, HIDDEN, PBFT),
    Mutant("V4 off, old blocks", "V4c", patches.NO_V4C, scene("another old block", scenes.other_block_again), PBFT),
    Mutant("V5 off", "V5", patches.NO_V5, LOCK, masked=BY_CHAIN),
    Mutant("T1 off", "T1", patches.NO_T1, VIEW_TWO),
    Mutant("T2 off", "T2", patches.NO_T2, HIDDEN, masked="a view is entered by a certificate only, and gives it along"),
    Mutant("T3 off", "T3", patches.NO_T3, LOCK, masked=BY_CHAIN),
    Mutant("T4 off", "T4", patches.NO_T4, scene("a vote after giving up", scenes.vote_after_giving_up)),
    Mutant("T5 off", "T5", patches.NO_T5, ANOTHER_WORD, masked="what was said is repeated word for word"),
    Mutant("T5 off, nothing repeated", "T5", together(patches.NO_T5, NO_WORD), ANOTHER_WORD),
    Mutant("P1 off", "P1", patches.NO_P1, storms.BINDING),
    Mutant("L1 off", "L1", patches.NO_L1, VIEW_TWO, PBFT),
    Mutant("L2 off", "L2", patches.NO_L2, scene("prepared after giving up", scenes.commit_after_giving_up), PBFT),
    Mutant("L3 off", "L3", patches.NO_L3, EPOCH, PBFT, masked=BY_VERIFIER),
    Mutant("L4 off", "L4", patches.NO_L4, HIDDEN, PBFT, masked="only a PREPARE certificate of the view is considered"),
    Mutant("L5 off", "L5", patches.NO_L5, LOCK, PBFT, masked=BY_CHAIN),
    Mutant("D1 off", "D1", patches.NO_D1_PBFT, scene("prepared at one", scenes.committed_when_prepared), PBFT),
    Mutant("D1 off", "D1", patches.NO_D1_HOTSTUFF, HIDDEN, HOTSTUFF, masked="the parent is looked up by its hash"),
    Mutant("D2 off", "D2", patches.NO_D2, scene("a gap of views", scenes.gap), HOTSTUFF),
)

VOUCHING: Final = (
    Mutant("leader unchecked", "C6", verification.ANY_LEADER, strategy("a usurper", Usurper, 4)),
    Mutant("proposal unsigned", "C5", unsigned("check_proposal"), strategy("an impostor", Impostor, 4)),
    Mutant(
        "payload not awaited",
        "C9",
        verification.PAYLOAD_NOT_AWAITED,
        scene("a payload that is nowhere", scenes.payload_that_is_nowhere),
    ),
    Mutant("batches not durable before the vote", "C9", durability.BATCHES_NOT_SYNCED, storms.CRASHES),
    Mutant("block not durable at its commit", "disk 2", durability.commit_late, storms.BINDING),
    Mutant(
        "voter counted twice",
        "C5",
        together(verification.TWICE_BY_POWER, swap("consensus.wire.pairwise", by=lambda _voters: ())),
        scene("one voter thrice", forged(scenes.one_voter_thrice)),
    ),
    Mutant(
        "voter named twice",
        "C5",
        verification.TWICE_ALLOWED,
        scene("one voter thrice", forged(scenes.one_voter_thrice)),
        masked="the encoding has each voter once, and its power is added once",
    ),
    Mutant(
        "phases counted together", "C5", verification.PHASES_MIXED, scene("mixed phases", scenes.mixed_phases), PBFT
    ),
    Mutant(
        "phase unchecked",
        "C5",
        unchecked("_check_phase"),
        scene("junk", forged(scenes.junk_signatures)),
        masked="the phase is signed, and no quorum signs one that the engine does not know",
    ),
    Mutant(
        "certified root not compared",
        "anchors 2",
        verification.ROOTS_NOT_COMPARED,
        memory("a root of its own", memories.root_of_its_own),
    ),
    Mutant(
        "P2 off",
        "P2",
        patches.NO_P2,
        storms.BINDING,
        masked="a view given up is not led, also after a restart",
        is_slow=True,
    ),
)

PERSISTENCE: Final = (
    Mutant("vote not persisted", "signatory 1", not_persisted(VOTE), ROUND_RESTART),
    Mutant(
        "vote persisted late",
        "signatory 1",
        persisted_late(VOTE),
        scene("two blocks around a crash", scenes.two_blocks_around_a_crash, 4),
    ),
    Mutant("COMMIT vote not persisted", "signatory 1", not_persisted(COMMIT), LOCK, PBFT),
    Mutant(
        "COMMIT vote persisted late",
        "signatory 1",
        persisted_late(COMMIT),
        scene("the lock after a crash", scenes.lock_after_a_crash, 4),
        PBFT,
    ),
    Mutant("timeout not persisted", "signatory 1", not_persisted(is_timeout), ANOTHER_WORD),
    Mutant(
        "timeout persisted late",
        "signatory 1",
        persisted_late(is_timeout),
        scene("another word after a crash", scenes.another_word_after_a_crash, 4),
    ),
    Mutant("proposal not persisted", "signatory 1", not_persisted(is_proposal), storms.BINDING),
    Mutant("proposal persisted late", "signatory 1", persisted_late(is_proposal), storms.BINDING),
    Mutant("view not taken up by a vote", "V1", patches.VIEW_NOT_TAKEN, ROUND_RESTART),
    Mutant("timeout not taken up", "T5", patches.TIMEOUT_NOT_TAKEN, ANOTHER_WORD),
    Mutant("proposal not taken up", "P1", patches.PROPOSAL_NOT_TAKEN, storms.BINDING),
    Mutant("voted block not kept", "signatory 1", durability.BLOCK_NOT_KEPT, storms.CRASHES),
)

CERTIFICATES: Final = (
    Mutant(
        "signatures unchecked",
        "C5",
        unchecked("_check_signature"),
        scene("junk", forged(scenes.junk_signatures)),
    ),
    Mutant("quorum unchecked", "C5", unchecked("_check_quorum"), scene("one voter", forged(scenes.one_voter))),
    Mutant(
        "quorum one too small",
        "C3",
        swap("consensus.validators.ValidatorSet.quorum_power", by=2),
        scene("two voters", forged(scenes.two_voters)),
    ),
    Mutant("vote unsigned", "C5", unsigned("check_vote"), scene("votes of others", scenes.forged_votes)),
    Mutant(
        "timeout unsigned",
        "C5",
        unsigned("check_timeout"),
        scene("timeouts of others", scenes.forged_timeouts),
    ),
    Mutant(
        "epoch unchecked",
        "C5",
        together(patches.HEARS_EVERY_EPOCH, unchecked("_check_epoch")),
        scene("a vote of another epoch", scenes.vote_of_another_epoch),
    ),
    Mutant(
        "TC's highest QC unchecked",
        "C5",
        verification.tolerant("check_tc", "bad_certificate"),
        scene("a TC that lies", scenes.hidden_in_tc),
    ),
    Mutant(
        "one voice ends a view",
        "C14",
        swap("consensus.validators.ValidatorSet.honest_power", by=1),
        scene("one voice", scenes.one_voice),
    ),
    Mutant(
        "anchor's root not compared",
        "C10",
        swap("consensus.anchors.AnchorRule.agrees", by=lambda *_: True),
        scene("a wrong root", scenes.wrong_root),
    ),
)

MEMORY: Final = (
    Mutant(
        "amnesia: signs at once",
        "C19",
        swap("consensus.amnesia.Amnesia.bound_view", by=lambda _self: 0),
        memory("a vote after amnesia", memories.votes_again),
    ),
    Mutant("amnesia: bound too low by three", "C19", swap("consensus.amnesia.VIEWS_SKIPPED", by=0), VIEW_TWO),
    Mutant("amnesia: bound too low by two", "C19", swap("consensus.amnesia.VIEWS_SKIPPED", by=1), VIEW_TWO),
    Mutant("amnesia: one report is enough", "C19", verification.ONE_REPORT, memory("one report", memories.one_report)),
    Mutant(
        "amnesia: vouches for others", "C19", verification.SPEAKS, memory("a report after amnesia", memories.vouches)
    ),
    Mutant("amnesia: old reports count", "C19", verification.OLD_REPORTS, memory("old reports", memories.old_reports)),
    Mutant(
        "own signature in later view ignored",
        "C20",
        swap("consensus.signatory.Signatory.stop_if_impersonated", by=lambda *_: None),
        memory("an old copy", memories.old_copy),
    ),
)

LOCKS: Final = (
    Mutant("lock not persisted", "T3, L5", durability.LOCK_NOT_PERSISTED, LOCK, PBFT),
    Mutant(
        "lock not persisted",
        "T3, V5",
        durability.LOCK_NOT_PERSISTED,
        LOCK,
        HOTSTUFF,
        masked="its certificate is in the block that was voted for, which is kept with the vote",
    ),
    Mutant(
        "neither lock nor block persisted",
        "T3, V5",
        together(durability.LOCK_NOT_PERSISTED, swap("node.simulator.disk.Disk.keep", by=lambda *_: None)),
        LOCK,
        HOTSTUFF,
    ),
    Mutant(
        "amnesia: bound too low by one",
        "C19",
        swap("consensus.amnesia.VIEWS_SKIPPED", by=2),
        memory("a block of its own", memories.own_block),
        HOTSTUFF,
    ),
    Mutant(
        "own signature in skipped view ignored",
        "C20",
        verification.SKIPPED_VIEWS_IGNORED,
        memory("an old copy that signs", memories.old_copy_that_signs),
    ),
)

EPOCHS: Final = (
    Mutant("E1 off", "E1", edges.NO_E1, edges.CRASHES_AT_EDGES),
    Mutant("E2 off", "E2, EP8", edges.NO_E2, edges.EDGES),
    Mutant("E3 off", "E3, EP10", edges.NO_E3, edges.LOST_LEDGER),
    Mutant("E4 off", "E4, C19", edges.NO_E4, edges.FIRST),
    Mutant("commits beyond the edge", "EP6", edges.COMMITS_BEYOND_THE_EDGE, edges.EDGES),
    Mutant("closing blocks idle and order", "EP6", edges.CLOSING_IDLES, edges.EDGES),
    Mutant("closed without a certified root", "EP7", edges.CLOSES_AT_ONCE, edges.EDGES),
    Mutant(
        "epoch's state saved late",
        "EP8",
        edges.STATE_NOT_SAVED,
        edges.CRASHES_AT_EDGES,
        masked="the state is persisted before every signature, the first in an epoch too",
    ),
    Mutant(
        "old epochs heard", "EP9", edges.OLD_EPOCHS_HEARD, edges.OLD_EPOCHS, masked="the verifier refuses other epochs"
    ),
    Mutant(
        "old epochs heard, epoch unchecked",
        "EP9, C5",
        together(edges.OLD_EPOCHS_HEARD, unchecked("_check_epoch")),
        edges.OLD_EPOCHS,
    ),
    Mutant("a later epoch says nothing", "EP9", edges.NEVER_BEHIND, edges.SLEEPER),
    Mutant(
        "early words forgotten",
        "EP9",
        edges.EARLY_FORGOTTEN,
        edges.EDGES,
        masked="everything is said again on the beat",
    ),
)

CONDUCT: Final = (
    Mutant("nobody passed over", "C6", edges.NOBODY_PASSED_OVER, edges.DEAD_LEADER),
    Mutant("proposals not witnessed", "witness 2", edges.NO_PROPOSALS_WITNESSED, edges.TWO_BLOCKS),
    Mutant("votes not witnessed", "witness 2", edges.NOTHING_WITNESSED, edges.TWO_VOTES),
    Mutant("timeouts not witnessed", "witness 2", edges.NOTHING_WITNESSED, edges.TWO_TIMEOUTS),
    Mutant(
        "late votes not witnessed",
        "witness 5",
        edges.NO_RIVALS,
        edges.TWO_VOTES,
        masked="of two votes one comes in time, or stands in a certificate, often enough",
    ),
)

MUTANTS: Final = (*RULES, *VOUCHING, *PERSISTENCE, *CERTIFICATES, *LOCKS, *MEMORY, *EPOCHS, *CONDUCT)
