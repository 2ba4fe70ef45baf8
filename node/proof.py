"""Checks what a validator says of the state, given nothing but the genesis document (or a trusted block besides).

Rules:

1. *Entry → root.* An entry, or its absence, is shown by its whole bucket and the way from there to the state root
   (`contracts.merkle_proof`).
2. *Root → header.* The state root after block H is named, with H and the block's hash, by the anchor of a later header
   (rule C8 of docs/PROTOCOL.md).
3. *Header → certificate.* A quorum voted for that header: a replica votes only when it has executed the anchor and
   found that root (C10), and a quorum holds an honest one.
4. *Certificate → validators.* The votes are by the validator set of the header's epoch, to which the changes since what
   is trusted lead, each certified by the set before it (`node.set_history`).
5. Whoever trusts a block refuses what is certified below it, or beside it (`node.trust`).
6. What verifies is true; what was changed on the way does not verify. The readable document must say exactly what its
   proof shows.

Pure: bytes in, values or `Rejected` out. No network, no disk, no compiled code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.types import QC, Header
from consensus.wire import MESSAGE_BYTES_MAX, decode_header, decode_qc, encode_header, encode_qc
from contracts.entries import EntryName, entry_name, row_to_json
from contracts.merkle_proof import BucketProof, bucket_of, proved_entries
from genesis.codec import Value, decode, encode, integer, optional, raw, record, sequence
from genesis.errors import Rejected
from genesis.values import DIGEST
from node.set_history import (
    BUCKET,
    HISTORY_BYTES_MAX,
    NOTHING,
    History,
    bucket_value,
    check_standing,
    decode_history,
    encode_history,
    follow,
)
from node.trust import Trust, certified_anchor

FORMAT: Final = "novate-proof/2"
PROOF_BYTES_MAX: Final = 16 * 2**20
ENTRIES_MAX: Final = 256
"""Entries that one proof shows."""

_VERSION: Final = 2
_PROOF: Final = record(
    integer(_VERSION, _VERSION),
    DIGEST,
    raw(1, MESSAGE_BYTES_MAX),
    raw(1, MESSAGE_BYTES_MAX),
    sequence(BUCKET, 1, ENTRIES_MAX),
    optional(BUCKET),
    raw(1, HISTORY_BYTES_MAX),
)


@dataclass(frozen=True, slots=True)
class StateProof:
    """Some buckets of the state, and what certifies them. Unverified until `prove_entries` has been asked.

    Attributes:
        chain_id: The chain it speaks of.
        header: A header whose anchor names the state's root.
        qc: A certificate of that header.
        buckets: Rule 1, each bucket once, ascending.
        standing: The bucket of the validator set of the header's epoch, under the same root; None in epoch 0.
        history: How the validators came to be that set.
    """

    chain_id: bytes
    header: Header
    qc: QC
    buckets: tuple[BucketProof, ...]
    standing: BucketProof | None = None
    history: History = NOTHING


def encode_proof(proof: StateProof) -> bytes:
    """The canonical bytes of a proof."""
    buckets = [bucket_value(each) for each in proof.buckets]
    standing = None if proof.standing is None else bucket_value(proof.standing)
    header, qc, history = encode_header(proof.header), encode_qc(proof.qc), encode_history(proof.history)
    return encode([_VERSION, proof.chain_id, header, qc, buckets, standing, history])


def decode_proof(data: bytes) -> StateProof:
    """The inverse of `encode_proof`; raises `Rejected` (``too_large``, ``malformed``)."""
    _, chain_id, header, qc, buckets, standing, history = decode(data, _PROOF, size_max=PROOF_BYTES_MAX)
    places = [each[0] for each in buckets]
    if places != sorted(set(places)):
        raise Rejected("malformed", "The buckets of a proof stand in ascending order, each once.")
    return StateProof(
        chain_id,
        decode_header(header),
        decode_qc(qc),
        tuple(BucketProof(*each) for each in buckets),
        None if standing is None else BucketProof(*standing),
        decode_history(history),
    )


def followed(trust: Trust, proof: StateProof) -> Trust:
    """The trust that the proof's history leads to, which must be that in the set of its header's epoch.

    Raises:
        Rejected: ``wrong_chain``, ``superfluous_transition``; and as `Trust.check_block` and
            `node.set_history.follow`.
    """
    if proof.chain_id != trust.document.chain_id:
        raise Rejected("wrong_chain", "The proof speaks of another chain.", chain=proof.chain_id.hex())
    header = proof.header
    trust.check_block(header.height, header.block_hash)
    trust = follow(trust, proof.history)
    if proof.history.links and trust.reigns[-1].first_epoch > header.epoch:
        message = "The proof shows changes of the validator set that come after its header."
        raise Rejected("superfluous_transition", message, epoch=header.epoch, since=trust.reigns[-1].first_epoch)
    return trust


def prove_entries(trust: Trust, proof: StateProof, names: Sequence[EntryName]) -> dict[EntryName, bytes | None]:
    """What each of these entries is after the block that the proof's header anchors: its row, or None for no entry.

    Raises:
        Rejected: ``bad_proof`` (also for an entry whose bucket the proof does not show); and as `followed`,
            `node.trust.certified_anchor` and `node.set_history.check_standing`.
    """
    return _entries(followed(trust, proof), proof, names)


def _entries(trust: Trust, proof: StateProof, names: Sequence[EntryName]) -> dict[EntryName, bytes | None]:
    anchor = certified_anchor(trust, proof.header, proof.qc)
    check_standing(trust, proof.header, proof.standing)
    depth = trust.document.limits.merkle_depth
    entries: dict[bytes, bytes] = {}
    for bucket in proof.buckets:
        entries.update(proved_entries(bucket, anchor.state_root, depth))
    shown = {bucket.bucket for bucket in proof.buckets}
    asked = {bucket_of(name.entry_key, depth) for name in names}
    if shown != asked:
        raise Rejected("bad_proof", "The proof shows other buckets than its entries'.", shown=len(shown))
    return {name: entries.get(name.entry_key) for name in names}


def shows_trusted_block(trust: Trust, proof: StateProof) -> bool:
    """Whether a proof that verifies holds a block at the height of the trusted one, whose hash was then compared.

    Otherwise nothing here contradicts the trusted hash, and nothing bears it out: of its block only the height counted.
    From a block of a later epoch than the first a proof always starts with that block (`node.set_history`).
    """
    if trust.block is None:
        return False
    headers = [proof.header, *(link.header for link in proof.history.links)]
    heights = {height for each in headers for height in (each.height, each.anchor.height)}
    if proof.history.start is not None:
        heights.add(proof.history.start.headers[0].height)
    return trust.block.height in heights


# --- the document for people and programs ----------------------------------------------------------------------------


def proof_document(trust: Trust, proof: StateProof, names: Sequence[EntryName]) -> dict[str, Any]:
    """The proof as plain values for JSON, every one of them derived from `proof` by verifying it; raises as
    `prove_entries`."""
    trust = followed(trust, proof)
    rows = _entries(trust, proof, names)
    header, anchor = proof.header, proof.header.anchor
    members = trust.validators(header.epoch).members
    start = proof.history.start
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
        "validators": {
            "from_height": 0 if start is None else start.headers[0].height,
            "changed_at_heights": [link.header.anchor.height for link in proof.history.links],
            "set_since_epoch": trust.reigns[-1].first_epoch,
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
