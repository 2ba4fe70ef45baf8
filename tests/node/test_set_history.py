"""From one validator set to the next, by proofs alone: docs/FAULTS.md rows 33 and 36."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus.types import Anchor
from genesis.epochs import epoch_of_block
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.proof import StateProof, decode_proof, encode_proof, proof_document, prove_entries, verify_document
from node.set_history import History, Link, Start, decode_history, encode_history, follow
from node.trust import Reign, Trust, TrustedBlock
from tests.node.changing_chain import ABSENT, EPOCH_BLOCKS, TOP, ChangingChain, another_past, changing_chain, key_of

ENGINES = ["hotstuff", "pbft"]
STRANGERS = [SigningKey(bytes([index + 151]) * 32) for index in range(5)]
MIDDLE = 30
"""A block of epoch 3, whose set began with that epoch."""


def refusal(trust: Trust, proof: StateProof) -> str:
    """The code with which a proof is refused; empty if it is not."""
    try:
        prove_entries(trust, decode_proof(encode_proof(proof)), [ABSENT])
    except Rejected as error:
        return error.code
    return ""


def top_of(chain: ChangingChain, *links: Link) -> StateProof:
    """The proof at the top with these links, from the genesis document."""
    return chain.proof(TOP, History(None, links))


def from_middle(chain: ChangingChain) -> StateProof:
    """The proof at the top for who trusts the block in the middle."""
    return chain.proof(TOP, History(chain.start(MIDDLE), chain.links(epoch_of_block(MIDDLE, EPOCH_BLOCKS))))


@pytest.mark.parametrize("consensus", ENGINES)
@pytest.mark.parametrize("height", [5, 8, 9, 10, 17, 24, 25, 30, 33, 41, TOP])
def test_any_height_is_proved_from_the_genesis_document(consensus: str, height: int) -> None:
    """Rows 33, 36: added, removed, rotated; a verifier needs one link a change, whatever the epochs between."""
    chain = changing_chain(consensus)
    links = chain.links(to=epoch_of_block(height, EPOCH_BLOCKS))
    assert refusal(Trust(chain.document), chain.proof(height, History(None, links))) == ""


@pytest.mark.parametrize("consensus", ENGINES)
@pytest.mark.parametrize("height", [3, 9, 15, 24, 25, 30, 44, 57, 58])
def test_a_proof_starts_from_any_trusted_block(consensus: str, height: int) -> None:
    """Who trusts a block needs what came after it, and nothing that retired keys could have signed."""
    chain = changing_chain(consensus)
    epoch = epoch_of_block(height, EPOCH_BLOCKS)
    start = chain.start(height) if epoch else None
    proof = chain.proof(TOP, History(start, chain.links(epoch)))
    assert refusal(chain.trust(height), proof) == ""
    assert refusal(Trust(chain.document), proof) == ("bad_start" if epoch else "")


def test_the_document_names_the_voters_of_the_set_that_it_came_to() -> None:
    """People read names; those of the genesis set would be others."""
    chain = changing_chain()
    proof = top_of(chain, *chain.links())
    document = proof_document(Trust(chain.document), proof, [ABSENT])
    assert document["certified_by"]["voters"] == ["v1", "v2", "v3", "v4"]
    assert document["validators"] == {
        "from_height": 0,
        "changed_at_heights": [8, 24, 32, 40],
        "set_since_epoch": 5,
    }
    assert verify_document(Trust(chain.document), document) == document
    with pytest.raises(Rejected, match="altered_document"):
        verify_document(Trust(chain.document), {**document, "validators": {**document["validators"], "from_height": 9}})


# --- one fault a row ------------------------------------------------------------------------------------------------


def phantom(chain: ChangingChain) -> StateProof:
    """Signed in good form by keys that never were validators."""
    proof = top_of(chain, *chain.links())
    return replace(proof, qc=chain.qc(proof.header, keys=STRANGERS))


def old_set_after_its_edge(chain: ChangingChain) -> StateProof:
    """Signed by the set of epoch 0, in epoch 7."""
    proof = top_of(chain, *chain.links())
    return replace(proof, qc=chain.qc(proof.header, epoch=0))


def old_key_of_one(chain: ChangingChain) -> StateProof:
    """v1 has rotated its key, and somebody signs with the old one."""
    proof = top_of(chain, *chain.links())
    return replace(proof, qc=chain.qc(proof.header, keys=[key_of("v1"), *chain.keys(7)[1:]]))


def old_set_beyond_its_edge(chain: ChangingChain) -> StateProof:
    """The set of epoch 0 says that the top is of its own epoch."""
    proof = top_of(chain)
    header = replace(proof.header, epoch=0)
    return replace(proof, header=header, qc=chain.qc(header), standing=None)


def old_set_orders_beyond_its_edge(chain: ChangingChain) -> StateProof:
    """The blocks that close an epoch order nothing."""
    header = replace(chain.closing[0], payload=(bytes(32),))
    return replace(chain.proof(9, History()), header=header, qc=chain.qc(header), standing=None)


def a_transition_skipped(chain: ChangingChain) -> StateProof:
    """One of four links is left out."""
    links = chain.links()
    return top_of(chain, links[0], *links[2:])


def a_transition_skipped_that_its_row_tells(chain: ChangingChain) -> StateProof:
    """The second link shows the row of the first set, which ended long before."""
    links = chain.links()
    rows = {each.bucket: each for each in (chain.rows[24, 0], chain.rows[24, 3])}
    return top_of(chain, replace(links[1], buckets=tuple(rows[each] for each in sorted(rows))), *links[2:])


def the_last_transition_withheld(chain: ChangingChain) -> StateProof:
    """The next set begins with all of the one before, so its votes look like theirs; its root tells."""
    return chain.proof(38, History(None, chain.links(to=3)))


def the_last_transition_withheld_with_its_row(chain: ChangingChain) -> StateProof:
    """The same, and the row is that of the set which the verifier knows: it has ended."""
    return replace(the_last_transition_withheld(chain), standing=chain.rows[36, 3])


def links_out_of_order(chain: ChangingChain) -> StateProof:
    """The second comes first."""
    links = chain.links()
    return top_of(chain, links[1], links[0], *links[2:])


def a_link_twice(chain: ChangingChain) -> StateProof:
    """What is over does not end again."""
    links = chain.links()
    return top_of(chain, links[0], *links)


def a_link_of_no_edge(chain: ChangingChain) -> StateProof:
    """A genuine header of the epoch, whose anchor is not the edge."""
    links = chain.links()
    header = chain.headers[8]
    return top_of(chain, replace(links[0], header=header, qc=chain.qc(header)), *links[1:])


def a_link_by_strangers(chain: ChangingChain) -> StateProof:
    """Nobody that was trusted handed over."""
    links = chain.links()
    return top_of(chain, replace(links[0], qc=chain.qc(links[0].header, keys=STRANGERS)), *links[1:])


def a_link_by_the_next_set(chain: ChangingChain) -> StateProof:
    """Whoever comes does not appoint itself."""
    links = chain.links()
    return top_of(chain, *links[:2], replace(links[2], qc=chain.qc(links[2].header, epoch=5)), links[3])


def a_link_by_too_few(chain: ChangingChain) -> StateProof:
    """Two of four."""
    links = chain.links()
    return top_of(chain, replace(links[0], qc=chain.qc(links[0].header, keys=chain.keys(0)[:2])), *links[1:])


def a_link_with_another_set(chain: ChangingChain) -> StateProof:
    """The row of the next set names somebody else."""
    links = chain.links()
    buckets = list(links[0].buckets)
    pairs = [tuple(pair.replace(b"v4", b"vX") for pair in each.pairs) for each in buckets]
    forged = tuple(replace(each, pairs=changed) for each, changed in zip(buckets, pairs, strict=True))
    return top_of(chain, replace(links[0], buckets=forged), *links[1:])


def a_link_under_a_root_of_its_own(chain: ChangingChain) -> StateProof:
    """The certificate was another header's."""
    links, other = chain.links(), another_past(chain.document.consensus)
    edge = chain.closing[0].anchor
    header = replace(links[0].header, anchor=Anchor(edge.height, edge.block_hash, other.roots[8]))
    return top_of(chain, replace(links[0], header=header), *links[1:])


def a_link_with_one_row(chain: ChangingChain) -> StateProof:
    """That the old set ended is not shown."""
    links = chain.links()
    new = chain.rows[8, 1]
    return top_of(chain, replace(links[0], buckets=(new,)), *links[1:])


def a_link_that_ends_nothing(chain: ChangingChain) -> StateProof:
    """At the edge of epoch 5 nothing changed: the set's row says that it goes on."""
    header = chain.closing[5]
    rows = {each.bucket: each for each in (chain.rows[48, 5], chain.rows[48, 6])}
    link = Link(header, chain.qc(header), tuple(rows[each] for each in sorted(rows)))
    return top_of(chain, *chain.links(), link)


def more_than_is_needed(chain: ChangingChain) -> StateProof:
    """Changes after the header that is proved."""
    return chain.proof(MIDDLE, History(None, chain.links()))


def no_standing(chain: ChangingChain) -> StateProof:
    """Whether the set is in force in the header's epoch, nothing shows."""
    return replace(top_of(chain, *chain.links()), standing=None)


def standing_of_another_height(chain: ChangingChain) -> StateProof:
    """The row is true, and under another root."""
    return replace(top_of(chain, *chain.links()), standing=chain.rows[41, 5])


def standing_of_an_older_set(chain: ChangingChain) -> StateProof:
    """A row under the right root, of another set."""
    return replace(top_of(chain, *chain.links()), standing=chain.rows[58, 3])


def standing_in_epoch_0(chain: ChangingChain) -> StateProof:
    """One proof has one form."""
    return replace(chain.proof(5, History()), standing=chain.rows[3, 0])


FROM_GENESIS: list[tuple[Callable[[ChangingChain], StateProof], str]] = [
    (phantom, "phantom_validators"),
    (old_set_after_its_edge, "retired_validators"),
    (old_key_of_one, "retired_validators"),
    (old_set_beyond_its_edge, "outside_epoch"),
    (old_set_orders_beyond_its_edge, "outside_epoch"),
    (a_transition_skipped, "skipped_transition"),
    (a_transition_skipped_that_its_row_tells, "skipped_transition"),
    (the_last_transition_withheld, "skipped_transition"),
    (the_last_transition_withheld_with_its_row, "skipped_transition"),
    (links_out_of_order, "skipped_transition"),
    (a_link_twice, "forged_transition"),
    (a_link_of_no_edge, "forged_transition"),
    (a_link_by_strangers, "phantom_validators"),
    (a_link_by_the_next_set, "phantom_validators"),
    (a_link_by_too_few, "no_quorum"),
    (a_link_with_another_set, "bad_proof"),
    (a_link_under_a_root_of_its_own, "bad_proof"),
    (a_link_with_one_row, "skipped_transition"),
    (a_link_that_ends_nothing, "forged_transition"),
    (more_than_is_needed, "superfluous_transition"),
    (no_standing, "bad_proof"),
    (standing_of_another_height, "bad_proof"),
    (standing_of_an_older_set, "skipped_transition"),
    (standing_in_epoch_0, "bad_proof"),
]


@pytest.mark.parametrize("consensus", ENGINES)
@pytest.mark.parametrize(("forged", "code"), FROM_GENESIS)
def test_a_forged_way_is_refused_by_its_fault(
    forged: Callable[[ChangingChain], StateProof], code: str, consensus: str
) -> None:
    """Row 36: every way to make somebody believe in validators that are not, with one fault each."""
    chain = changing_chain(consensus)
    assert refusal(Trust(chain.document), forged(chain)) == code


def no_start(chain: ChangingChain) -> StateProof:
    """From the genesis document, for somebody who trusts a later block."""
    return top_of(chain, *chain.links())


def start_of_another_block(chain: ChangingChain) -> StateProof:
    """One block further up."""
    return replace(from_middle(chain), history=History(chain.start(MIDDLE + 1), chain.links(3)))


def start_of_another_past(chain: ChangingChain) -> StateProof:
    """The same height of a chain that never was."""
    other = another_past(chain.document.consensus)
    return replace(other.proof(TOP, History(other.start(MIDDLE))), header=chain.headers[TOP])


def start_with_a_gap(chain: ChangingChain) -> StateProof:
    """A header between is left out."""
    start = chain.start(MIDDLE)
    return replace(from_middle(chain), history=History(Start(start.headers[::2], start.bucket), chain.links(3)))


def start_cut_short(chain: ChangingChain) -> StateProof:
    """It does not come down to the edge."""
    start = chain.start(MIDDLE)
    return replace(from_middle(chain), history=History(Start(start.headers[:-1], start.bucket), chain.links(3)))


def start_with_a_set_that_ended(chain: ChangingChain) -> StateProof:
    """A true row under the true root, of the set before."""
    start = replace(chain.start(MIDDLE), bucket=chain.rows[24, 1])
    return replace(from_middle(chain), history=History(start, chain.links(3)))


def start_under_another_root(chain: ChangingChain) -> StateProof:
    """A row of a chain that never was."""
    start = replace(chain.start(MIDDLE), bucket=another_past(chain.document.consensus).rows[24, 2])
    return replace(from_middle(chain), history=History(start, chain.links(3)))


def a_link_below_the_start(chain: ChangingChain) -> StateProof:
    """The set of the trusted block's epoch cannot begin after it."""
    return replace(from_middle(chain), history=History(chain.start(MIDDLE), chain.links(2)))


def header_below(chain: ChangingChain) -> StateProof:
    """Certified below the trusted block."""
    return chain.proof(MIDDLE - 1, History(None, chain.links(to=3)))


def anchor_below(chain: ChangingChain) -> StateProof:
    """Certified above, of a state below."""
    return chain.proof(MIDDLE + 1, History(chain.start(MIDDLE)))


def beside(chain: ChangingChain) -> StateProof:
    """Another block of that height, signed with keys that were good then."""
    other = another_past(chain.document.consensus)
    return other.proof(MIDDLE, History(None, other.links()))


def long_range(chain: ChangingChain) -> StateProof:
    """Another past, signed with retired keys, up to a height above the trusted block."""
    other = another_past(chain.document.consensus)
    return other.proof(TOP, History(None, other.links()))


def long_range_from_the_block(chain: ChangingChain) -> StateProof:
    """The same, behind a true start."""
    return replace(long_range(chain), history=History(chain.start(MIDDLE)))


FROM_A_BLOCK: list[tuple[Callable[[ChangingChain], StateProof], str]] = [
    (no_start, "no_start"),
    (start_of_another_block, "bad_start"),
    (start_of_another_past, "bad_start"),
    (start_with_a_gap, "bad_start"),
    (start_cut_short, "bad_start"),
    (start_with_a_set_that_ended, "bad_start"),
    (start_under_another_root, "bad_proof"),
    (a_link_below_the_start, "forged_transition"),
    (header_below, "below_trusted_height"),
    (anchor_below, "below_trusted_height"),
    (beside, "untrusted_block"),
    (long_range, "no_start"),
    (long_range_from_the_block, "phantom_validators"),
]


@pytest.mark.parametrize("consensus", ENGINES)
@pytest.mark.parametrize(("forged", "code"), FROM_A_BLOCK)
def test_a_trusted_block_bars_what_leads_around_it(
    forged: Callable[[ChangingChain], StateProof], code: str, consensus: str
) -> None:
    """Row 36: retired keys can sign another past, which the genesis document alone cannot tell from the true one."""
    chain = changing_chain(consensus)
    assert refusal(chain.trust(MIDDLE), from_middle(chain)) == ""
    assert refusal(chain.trust(MIDDLE), forged(chain)) == code


def test_another_past_signed_by_retired_keys_deceives_who_trusts_no_block() -> None:
    """Why a trusted block is worth its trouble: this is the limit of what signatures can show, and it is known."""
    assert refusal(Trust(changing_chain().document), long_range(changing_chain())) == ""


def test_a_link_below_the_trusted_block_within_a_longer_reign_is_refused() -> None:
    """The set of epoch 1 goes on in epoch 2; who trusts a block of 2 does not believe that it ended before."""
    chain = changing_chain()
    header = chain.closing[1]
    forged = Link(header, chain.qc(header), (chain.rows[16, 1],))
    proof = chain.proof(TOP, History(chain.start(20), (forged, *chain.links(2))))
    assert refusal(chain.trust(20), chain.proof(TOP, History(chain.start(20), chain.links(2)))) == ""
    assert refusal(chain.trust(20), proof) == "bad_proof"


def test_a_link_that_ends_another_set_than_the_known_one_is_forged() -> None:
    """The row has the right epochs and other members: whoever is believed now did not make way."""
    chain = changing_chain()
    believed = Trust(chain.document, None, (Reign(3, None, chain.sets[4]),))
    with pytest.raises(Rejected, match="forged_transition"):
        follow(believed, History(None, (chain.link(3),)))


def test_a_history_with_any_byte_changed_does_not_verify() -> None:
    """Every byte is bound by a hash or a signature."""
    chain = changing_chain()
    proof = from_middle(chain)
    wire = encode_history(proof.history)
    verified = []
    for at in range(0, len(wire), 3):
        changed = wire[:at] + bytes([wire[at] ^ 0x04]) + wire[at + 1 :]
        try:
            history = decode_history(changed)
        except Rejected:
            continue
        if refusal(chain.trust(MIDDLE), replace(proof, history=history)) == "":
            verified.append(at)
    assert verified == []


def test_a_trusted_block_of_the_first_epoch_needs_no_start() -> None:
    """The genesis document names its validators."""
    chain = changing_chain()
    trust = Trust(chain.document, TrustedBlock(7, chain.headers[7].block_hash))
    assert refusal(trust, top_of(chain, *chain.links())) == ""
