"""Checks what a validator says of the state, given nothing but the genesis document (or a trusted block besides).

Rules:

1. *Entry → root.* An entry, or its absence, is shown by its whole bucket and the way from there to the state root
   (`contracts.merkle_proof`).
2. *Root → header.* The state root after block H is named, with H and the block's hash, by the anchor of a later header
   (rule C8 of docs/PROTOCOL.md).
3. *Header → certificate.* A quorum voted for that header: a replica votes only when it has executed the anchor and
   found that root (C10), and a quorum holds an honest one.
4. *Certificate → validators.* The votes are by the validator set of the header's epoch. `Trust.validators` is the one
   place that says which set an epoch has: the genesis document's, as long as governance has left it as it was. In an
   epoch with another set nothing verifies (`phantom_validators`) until this grows by the sets that a certified state
   proves.
5. Whoever trusts a block (its height and hash, from somebody other than the validator that is asked) refuses what is
   certified below it, and another block at its height: keys that have been retired may be in anyone's hands, and could
   sign another past.
6. What verifies is true; what was changed on the way does not verify. The readable document must say exactly what its
   proof shows.

Pure: bytes in, values or `Rejected` out. No network, no disk, no compiled code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.certificates import Verifier
from consensus.config import CoreConfig
from consensus.engine import rules_of
from consensus.rules import Rules
from consensus.types import QC, Anchor, Header, genesis_header
from consensus.validators import ValidatorSet, validator_set
from consensus.wire import MESSAGE_BYTES_MAX, decode_header, decode_qc, encode_header, encode_qc
from contracts.entries import EntryName, entry_name, row_to_json
from contracts.merkle_proof import ENTRY_BYTES_MAX, BucketProof, bucket_of, proved_entries
from genesis.codec import ARRAY_LENGTH_MAX, Value, decode, encode, integer, raw, record, sequence
from genesis.document import GenesisDocument
from genesis.errors import Rejected
from genesis.hashing import ZERO_DIGEST
from genesis.values import DIGEST

FORMAT: Final = "novate-proof/1"
PROOF_BYTES_MAX: Final = 16 * 2**20
ENTRIES_MAX: Final = 256
"""Entries that one proof shows."""

_VERSION: Final = 1
_DEPTH_MAX: Final = 24
_BUCKET: Final = record(
    integer(0, 2**_DEPTH_MAX - 1),
    sequence(raw(1, 2 * ENTRY_BYTES_MAX), 0, ARRAY_LENGTH_MAX),
    sequence(DIGEST, 0, _DEPTH_MAX),
)
_PROOF: Final = record(
    integer(_VERSION, _VERSION),
    DIGEST,
    raw(1, MESSAGE_BYTES_MAX),
    raw(1, MESSAGE_BYTES_MAX),
    sequence(_BUCKET, 1, ENTRIES_MAX),
)
_FOREIGN_VOTES: Final = frozenset({"bad_signature", "unknown_validator"})


@dataclass(frozen=True, slots=True)
class TrustedBlock:
    """A block that whoever verifies knows to be of this chain: rule 5."""

    height: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Trust:
    """What whoever verifies starts from.

    Attributes:
        document: The chain.
        block: Rule 5; None trusts the genesis document alone.
    """

    document: GenesisDocument
    block: TrustedBlock | None = None

    def validators(self, epoch: int) -> ValidatorSet:
        """The validator set of an epoch (rule 4)."""
        return validator_set(epoch, self.document.validators)

    def check_block(self, height: int, block_hash: bytes) -> None:
        """Rule 5, for a block that a certificate vouches for.

        Raises:
            Rejected: ``below_trusted_height``, ``untrusted_block``.
        """
        trusted = self.block
        if trusted is None:
            return
        if height < trusted.height:
            raise Rejected(
                "below_trusted_height",
                "What is certified below the trusted block proves nothing.",
                height=height,
                trusted_height=trusted.height,
            )
        if height == trusted.height and block_hash != trusted.block_hash:
            raise Rejected(
                "untrusted_block",
                "Another block than the trusted one is certified at its height.",
                height=height,
                block_hash=block_hash.hex(),
                trusted_hash=trusted.block_hash.hex(),
            )


def check_certificate(trust: Trust, header: Header, qc: QC) -> None:
    """Rules 3 to 5: a quorum of the header's epoch voted for this very header.

    Raises:
        Rejected: ``foreign_certificate`` (of another block), ``phantom_validators`` (votes that are not by the epoch's
            validators), ``no_quorum``, ``bad_certificate``; and as `Trust.check_block`.
    """
    if (qc.epoch, qc.height, qc.block_hash) != (header.epoch, header.height, header.block_hash):
        raise Rejected("foreign_certificate", "The certificate is of another block.", height=header.height)
    rules = rules_of(trust.document.consensus)
    if qc.phase is not rules.PHASES[-1] or qc.height == 0:
        raise Rejected("bad_certificate", "This certificate commits nothing.", phase=int(qc.phase), height=qc.height)
    try:
        _verifier(trust.document, rules, trust.validators(header.epoch)).check_qc(qc)
    except Rejected as error:
        if error.code not in _FOREIGN_VOTES:
            raise
        raise Rejected(
            "phantom_validators",
            f"The certificate holds votes that are not by the validators of its epoch: {error.message}",
            height=header.height,
            epoch=header.epoch,
        ) from error
    trust.check_block(header.height, header.block_hash)


def _verifier(document: GenesisDocument, rules: Rules, validators: ValidatorSet) -> Verifier:
    # The QC of block 0, which has no votes, certifies nothing here: whatever stands for block 0 will do.
    block_0 = genesis_header(document.chain_id, 0, ZERO_DIGEST)
    config = CoreConfig(document.chain_id, 0, validators, document.limits, block_0)
    return Verifier(config, rules)


def certified_anchor(trust: Trust, header: Header, qc: QC) -> Anchor:
    """The block whose state root this header certifies (rules 2 to 5); raises as `check_certificate`."""
    check_certificate(trust, header, qc)
    anchor = header.anchor
    if anchor.height >= header.height:
        raise Rejected("bad_proof", "A header's anchor is an ancestor of it.", anchor=anchor.height)
    trust.check_block(anchor.height, anchor.block_hash)
    return anchor


@dataclass(frozen=True, slots=True)
class StateProof:
    """Some buckets of the state, and what certifies them. Unverified until `prove_entries` has been asked.

    Attributes:
        chain_id: The chain it speaks of.
        header: A header whose anchor names the state's root.
        qc: A certificate of that header.
        buckets: Rule 1, each bucket once, ascending.
    """

    chain_id: bytes
    header: Header
    qc: QC
    buckets: tuple[BucketProof, ...]


def encode_proof(proof: StateProof) -> bytes:
    """The canonical bytes of a proof."""
    buckets = [[each.bucket, each.pairs, each.path] for each in proof.buckets]
    return encode([_VERSION, proof.chain_id, encode_header(proof.header), encode_qc(proof.qc), buckets])


def decode_proof(data: bytes) -> StateProof:
    """The inverse of `encode_proof`; raises `Rejected` (``too_large``, ``malformed``)."""
    _, chain_id, header, qc, buckets = decode(data, _PROOF, size_max=PROOF_BYTES_MAX)
    places = [each[0] for each in buckets]
    if places != sorted(set(places)):
        raise Rejected("malformed", "The buckets of a proof stand in ascending order, each once.")
    return StateProof(chain_id, decode_header(header), decode_qc(qc), tuple(BucketProof(*each) for each in buckets))


def prove_entries(trust: Trust, proof: StateProof, names: Sequence[EntryName]) -> dict[EntryName, bytes | None]:
    """What each of these entries is after the block that the proof's header anchors: its row, or None for no entry.

    Raises:
        Rejected: ``wrong_chain``; ``bad_proof`` (also for an entry whose bucket the proof does not show); and as
            `certified_anchor`.
    """
    if proof.chain_id != trust.document.chain_id:
        raise Rejected("wrong_chain", "The proof speaks of another chain.", chain=proof.chain_id.hex())
    anchor = certified_anchor(trust, proof.header, proof.qc)
    depth = trust.document.limits.merkle_depth
    entries: dict[bytes, bytes] = {}
    for bucket in proof.buckets:
        entries.update(proved_entries(bucket, anchor.state_root, depth))
    shown = {bucket.bucket for bucket in proof.buckets}
    asked = {bucket_of(name.entry_key, depth) for name in names}
    if shown != asked:
        raise Rejected("bad_proof", "The proof shows other buckets than its entries'.", shown=len(shown))
    return {name: entries.get(name.entry_key) for name in names}


# --- the document for people and programs ----------------------------------------------------------------------------


def proof_document(trust: Trust, proof: StateProof, names: Sequence[EntryName]) -> dict[str, Any]:
    """The proof as plain values for JSON, every one of them derived from `proof` by verifying it; raises as
    `prove_entries`."""
    rows = prove_entries(trust, proof, names)
    header, anchor = proof.header, proof.header.anchor
    members = trust.validators(header.epoch).members
    return {
        "format": FORMAT,
        "chain_id": proof.chain_id.hex(),
        "height": anchor.height,
        "block_hash": anchor.block_hash.hex(),
        "state_root": anchor.state_root.hex(),
        "entries": [
            {"table": name.table, "key": name.plain_key, "row": None if row is None else row_to_json(name.table, row)}
            for name, row in rows.items()
        ],
        "certified_by": {
            "epoch": header.epoch,
            "height": header.height,
            "view": proof.qc.view,
            "block_hash": header.block_hash.hex(),
            "voters": [members[index].name for index, _ in proof.qc.signatures],
        },
        "proof": encode_proof(proof).hex(),
    }


def verify_document(trust: Trust, document: Any) -> dict[str, Any]:
    """Verify a proof document; returns it.

    Raises:
        Rejected: ``malformed``; ``altered_document`` when it says anything else than its proof shows; and as
            `prove_entries`.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise Rejected("malformed", f"Not a proof of the form {FORMAT}.")
    names, proof = _names(document.get("entries")), _unhex(document.get("proof"))
    derived = proof_document(trust, decode_proof(proof), names)
    if _text(derived) != _text(document):
        differing = sorted(field for field in derived if derived[field] != document.get(field))
        fields = ", ".join(differing) or "its fields"
        raise Rejected("altered_document", f"The document says something else than its proof: see {fields}.")
    return derived


def _text(value: Mapping[str, Any]) -> str:
    """For comparing: Python takes 1, 1.0 and true for one another."""
    return json.dumps(value, sort_keys=True)


def _names(entries: Value) -> list[EntryName]:
    if not isinstance(entries, list) or not 1 <= len(entries) <= ENTRIES_MAX:
        raise Rejected("malformed", f"A proof has 1 to {ENTRIES_MAX} entries.")
    names = []
    for each in entries:
        table, key = (each.get("table"), each.get("key")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(table, str) or not isinstance(key, list):
            raise Rejected("malformed", "An entry of a proof has a table, a key and a row.")
        names.append(entry_name(table, key))
    return names


def _unhex(text: Value) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError) as error:
        raise Rejected("malformed", "A proof's bytes are hexadecimal.") from error
