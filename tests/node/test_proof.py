"""The verifier of proofs: docs/FAULTS.md row 36."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from consensus.types import Anchor
from contracts.entries import EntryName, entry_name
from genesis.errors import Rejected
from genesis.signing import SigningKey
from genesis.statements import Phase
from node.proof import (
    StateProof,
    decode_proof,
    encode_proof,
    proof_document,
    prove_entries,
    shows_trusted_block,
    verify_document,
)
from node.trust import Trust, TrustedBlock, check_certificate
from tests.node.dataplane import GOVERNOR, T0_UNIX_MS, document_of
from tests.node.scripted_chain import ScriptedChain

DOCUMENT = document_of()
KEYS = [SigningKey(bytes([index + 1]) * 32) for index in range(4)]
STRANGERS = [SigningKey(bytes([index + 101]) * 32) for index in range(4)]
THERE, NOT_THERE = entry_name("assets", ["A1"]), entry_name("assets", ["NONE"])
NAMES = (THERE, NOT_THERE)
HEIGHT = 3
"""The block whose state is proved; its root is named by the header of block 5."""


@cache
def story() -> tuple[ScriptedChain, StateProof]:
    """A chain of five blocks with assets in it, and a proof of the state after the third."""
    chain = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    chain.grow(chain.operations(40))
    chain.grow()
    chain.grow(chain.operations(2))
    buckets = {proof.bucket: proof for proof in (chain.state.prove(name.entry_key) for name in NAMES)}
    chain.grow(chain.operations(5))
    header = chain.grow().header
    assert (header.height, header.anchor.height) == (HEIGHT + 2, HEIGHT)
    taken = tuple(buckets[each] for each in sorted(buckets))
    return chain, StateProof(DOCUMENT.chain_id, header, chain.certificate(header), taken)


def trust_in(height: int, *, another: bool = False) -> Trust:
    """Trust in the story's block of this height, or in one that is not of this chain."""
    chain, _ = story()
    block_hash = chain.proposals[height - 1].header.block_hash
    return Trust(DOCUMENT, TrustedBlock(height, bytes(32) if another else block_hash))


def refusal(trust: Trust, proof: StateProof, names: tuple[EntryName, ...] = NAMES) -> str:
    """The code with which a proof is refused; empty if it is not."""
    try:
        prove_entries(trust, proof, names)
    except Rejected as error:
        return error.code
    return ""


def test_presence_and_absence_are_proved_from_the_genesis_document_alone() -> None:
    """What a light client is for."""
    _, proof = story()
    rows = prove_entries(Trust(DOCUMENT), decode_proof(encode_proof(proof)), NAMES)
    assert rows[THERE] is not None
    assert rows[NOT_THERE] is None


def test_a_proof_with_any_byte_changed_does_not_verify() -> None:
    """Every byte is bound by a hash or a signature: there is no slack to hide a lie in."""
    _, proof = story()
    wire = encode_proof(proof)
    verified = []
    for at in range(len(wire)):
        for mask in (0x01, 0x80):
            changed = wire[:at] + bytes([wire[at] ^ mask]) + wire[at + 1 :]
            try:
                if prove_entries(Trust(DOCUMENT), decode_proof(changed), NAMES):
                    verified.append((at, mask))
            except Rejected:
                pass
    assert verified == []


@pytest.mark.parametrize("cut", [1, 2, 33, 500])
def test_a_proof_cut_short_or_with_more_behind_it_is_malformed(cut: int) -> None:
    """One proof has one form."""
    wire = encode_proof(story()[1])
    for changed in (wire[:-cut], wire + bytes(cut)):
        with pytest.raises(Rejected, match="malformed"):
            decode_proof(changed)


# --- row 36 ---------------------------------------------------------------------------------------------------------


def phantom(proof: StateProof) -> StateProof:
    """Signed in good form by four keys that never were validators."""
    return replace(proof, qc=story()[0].sign_qc(proof.header, STRANGERS, (0, 1, 2)))


def by_too_few(proof: StateProof) -> StateProof:
    """Two of four are no quorum."""
    return replace(proof, qc=story()[0].sign_qc(proof.header, KEYS, (0, 1)))


def by_one_more_than_there_are(proof: StateProof) -> StateProof:
    """A voter beyond the set."""
    return replace(proof, qc=story()[0].sign_qc(proof.header, [*KEYS, *STRANGERS], (0, 1, 2, 5)))


def by_one_twice(proof: StateProof) -> StateProof:
    """Two voters who look like three; the encoding forbids it too."""
    return replace(proof, qc=story()[0].sign_qc(proof.header, KEYS, (0, 1, 1)))


def of_another_header(proof: StateProof) -> StateProof:
    """A genuine certificate, of another block."""
    chain, _ = story()
    return replace(proof, qc=chain.certificate(chain.proposals[0].header))


def with_a_root_of_its_own(proof: StateProof) -> StateProof:
    """The header says what its forger likes, the certificate was another's."""
    anchor = replace(proof.header.anchor, state_root=bytes(32))
    return replace(proof, header=replace(proof.header, anchor=anchor))


def that_anchors_itself(proof: StateProof) -> StateProof:
    """No block's root is known before it."""
    header = replace(proof.header, anchor=Anchor(proof.header.height, bytes(32), proof.header.anchor.state_root))
    return replace(proof, header=header, qc=story()[0].sign_qc(header, KEYS, (0, 1, 2)))


def of_another_state(proof: StateProof) -> StateProof:
    """Buckets of a later block."""
    chain, _ = story()
    return replace(proof, buckets=tuple(chain.state.prove(each.entry_key) for each in (NOT_THERE, THERE)))


@pytest.mark.parametrize(
    ("forged", "code"),
    [
        (phantom, "phantom_validators"),
        (by_one_more_than_there_are, "phantom_validators"),
        (by_too_few, "no_quorum"),
        (by_one_twice, "bad_certificate"),
        (of_another_header, "foreign_certificate"),
        (with_a_root_of_its_own, "foreign_certificate"),
        (that_anchors_itself, "bad_proof"),
        (of_another_state, "bad_proof"),
        (lambda proof: replace(proof, chain_id=bytes(32)), "wrong_chain"),
        (lambda proof: replace(proof, buckets=proof.buckets[:1]), "bad_proof"),
        (lambda proof: replace(proof, buckets=()), "bad_proof"),
    ],
)
def test_a_forged_proof_is_refused_by_its_fault(forged: Callable[[StateProof], StateProof], code: str) -> None:
    """Row 36: a set that never was, and every other way to certify what is not so."""
    _, proof = story()
    assert refusal(Trust(DOCUMENT), proof) == ""
    assert refusal(Trust(DOCUMENT), forged(proof)) == code


@pytest.mark.parametrize(
    ("height", "another", "code"),
    [
        (HEIGHT - 1, False, ""),
        (HEIGHT, False, ""),
        (HEIGHT, True, "untrusted_block"),
        (HEIGHT + 1, False, "below_trusted_height"),
        (HEIGHT + 2, True, "untrusted_block"),
    ],
)
def test_what_is_certified_below_or_beside_a_trusted_block_proves_nothing(
    height: int, another: bool, code: str
) -> None:
    """Row 36: whoever holds retired keys can sign another past, never below or at what is trusted."""
    assert refusal(trust_in(height, another=another), story()[1]) == code


@pytest.mark.parametrize(("height", "shown"), [(HEIGHT - 1, False), (HEIGHT, True), (HEIGHT + 1, False)])
def test_it_is_known_whether_the_trusted_hash_was_compared(height: int, shown: bool) -> None:
    """A false hash at a height that the proof does not hold goes unnoticed: nobody may be told that it was checked."""
    proof = story()[1]
    false_hash = refusal(trust_in(HEIGHT - 1, another=True), proof)
    assert false_hash == ""
    assert shows_trusted_block(trust_in(height), proof) is shown
    assert not shows_trusted_block(Trust(DOCUMENT), proof)


def test_a_long_range_header_is_refused_by_itself() -> None:
    """Row 36: block sync and snapshots ask the same question of headers alone."""
    chain, _ = story()
    old = chain.proposals[0].header
    check_certificate(Trust(DOCUMENT), old, chain.certificate(old))
    with pytest.raises(Rejected, match="below_trusted_height"):
        check_certificate(trust_in(4), old, chain.certificate(old))


@pytest.mark.parametrize("phase", [Phase.CERTIFY, Phase.PREPARE])
def test_a_block_that_pbft_only_prepared_certifies_nothing(phase: Phase) -> None:
    """On a chain of the other engine a quorum's PREPARE votes may be for a block that is never committed."""
    document = replace(DOCUMENT, consensus="pbft")
    chain = ScriptedChain(document, KEYS, GOVERNOR, T0_UNIX_MS)
    chain.grow(chain.operations(2))
    bucket = chain.state.prove(THERE.entry_key)
    header = chain.grow().header
    assert header.anchor.height == 1
    proof = StateProof(document.chain_id, header, chain.certificate(header), (bucket,))
    assert prove_entries(Trust(document), proof, [THERE])[THERE] is not None
    chain.phase = phase
    with pytest.raises(Rejected, match="bad_certificate"):
        prove_entries(Trust(document), replace(proof, qc=chain.sign_qc(header, KEYS, (0, 1, 2))), [THERE])


# --- the document ---------------------------------------------------------------------------------------------------


def test_the_document_says_what_the_proof_shows() -> None:
    """People read the document, so it is held against its proof."""
    _, proof = story()
    document = proof_document(Trust(DOCUMENT), proof, NAMES)
    assert verify_document(Trust(DOCUMENT), json.loads(json.dumps(document))) == document
    assert [each["row"] for each in document["entries"]] == [{"decimals": 2}, None]
    assert document["height"] == HEIGHT
    assert document["certified_by"]["voters"] == ["v0", "v1", "v2"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: d["entries"][0]["row"].update(decimals=3), "altered_document"),
        (lambda d: d["entries"][0]["row"].update(decimals=2.0), "altered_document"),
        (lambda d: d["entries"][0].update(row=None), "altered_document"),
        (lambda d: d["entries"][1].update(row={"decimals": 2}), "altered_document"),
        (lambda d: d["entries"][1].update(key=["A2"]), "bad_proof"),
        (lambda d: d["entries"].pop(), "bad_proof"),
        (lambda d: d["entries"].append(d["entries"][0]), "altered_document"),
        (lambda d: d.update(height=4), "altered_document"),
        (lambda d: d.update(state_root="00" * 32), "altered_document"),
        (lambda d: d.update(remark="trust me"), "altered_document"),
        (lambda d: d["certified_by"].update(voters=["v0", "v1", "v3"]), "altered_document"),
        (lambda d: d.update(proof=d["proof"].upper()), "altered_document"),
        (lambda d: d.update(proof=d["proof"][:-2]), "malformed"),
        (lambda d: d.update(proof=None), "malformed"),
        (lambda d: d.update(entries=[]), "malformed"),
        (lambda d: d.update(entries=[7]), "malformed"),
        (lambda d: d.update(format="novate-proof/1"), "malformed"),
    ],
)
def test_a_document_that_says_more_or_less_than_its_proof_is_refused(
    change: Callable[[dict[str, Any]], object], code: str
) -> None:
    """A number changed beside an honest proof would be believed."""
    document = copy.deepcopy(proof_document(Trust(DOCUMENT), story()[1], NAMES))
    change(document)
    with pytest.raises(Rejected, match=code):
        verify_document(Trust(DOCUMENT), document)


def test_the_verifier_needs_no_network_disk_or_compiled_code() -> None:
    """It is for clients: whoever checks a proof must not need a node."""
    heavy = ("trio", "plyvel", "numba", "numpy", "cryptography", "hypercorn")
    code = f"import sys, node.proof; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
