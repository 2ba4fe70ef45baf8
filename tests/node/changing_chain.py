"""A chain whose validators change: real state machine and governance, headers signed with the keys of each epoch's set.

Epochs have eight blocks. Nothing is ordered but the changes; each header's anchor is two blocks below it, or the edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from consensus.engine import rules_of
from consensus.types import QC, Anchor, Header, Vote, genesis_header, signing_message
from contracts.edge import validator_set_key, validator_set_of
from contracts.entries import entry_name
from contracts.machine import BlockInput, apply_block, genesis_state
from contracts.merkle_proof import BucketProof
from contracts.operations import build_operation
from genesis.document import GenesisDocument, GenesisValidator
from genesis.envelope import decode_envelope, sign_envelope, verify_all
from genesis.epochs import edge_height, epoch_of_block, is_edge
from genesis.signing import SigningKey
from genesis.validator_sets import validator_set_key as set_entry_key
from node.proof import StateProof
from node.set_history import History, Link, Start
from node.trust import Trust, TrustedBlock
from tests.node.dataplane import PARAMS, T0_UNIX_MS, document_of

EPOCH_BLOCKS = 8
SHORT = replace(PARAMS, epoch_blocks=EPOCH_BLOCKS)
TOP = 60
ABSENT = entry_name("assets", ["NONE"])

JOINING = {"power": "1", "address": "127.0.0.1:4100"}
CHANGES: Mapping[int, tuple[str, dict[str, str]]] = {
    2: ("validator.add", {"validator": "v4", "certificate": "c4", **JOINING}),
    18: ("validator.remove", {"validator": "v0"}),
    26: ("validator.add", {"validator": "v5", "certificate": "c5", **JOINING}),
    34: ("validator.rotate_key", {"validator": "v1"}),
}
"""What is proposed and approved at which height: at the edges of epochs 0, 2, 3 and 4 the set changes."""

ANOTHER_PAST: Mapping[int, tuple[str, dict[str, str]]] = {
    10: ("validator.add", {"validator": "v5", "certificate": "c5", **JOINING}),
}


def key_of(name: str, generation: int = 0) -> SigningKey:
    """The consensus key of a validator; a rotated key is of the next generation."""
    return SigningKey(bytes([int(name[1:]) + 1 + 50 * generation]) * 32)


@dataclass
class ChangingChain:
    """The chain, and what may be asked of each of its heights.

    Attributes:
        headers: By height, 0 to `TOP`.
        closing: By epoch, the header whose certificate ends it.
        rows: By height and first epoch, the bucket of a set's row after that block; at an edge also that of the row
            which the next epoch would have.
        absent: By height, the bucket of `ABSENT`, of which there is no entry.
    """

    document: GenesisDocument
    changes: Mapping[int, tuple[str, dict[str, str]]] = field(default_factory=lambda: CHANGES)
    headers: dict[int, Header] = field(default_factory=dict)
    closing: dict[int, Header] = field(default_factory=dict)
    rows: dict[tuple[int, int], BucketProof] = field(default_factory=dict)
    absent: dict[int, BucketProof] = field(default_factory=dict)
    sets: dict[int, tuple[GenesisValidator, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = genesis_state(self.document)
        self.headers[0] = genesis_header(self.document.chain_id, self.state.time_unix_ms, self.state.root)
        self.roots = {0: self.state.root}
        for height in range(1, TOP + 1):
            self._grow(height)

    def keys(self, epoch: int) -> list[SigningKey]:
        """The keys of the set of an epoch, in order of index."""
        known = {
            key.public_key: key for n in range(6) for key in (key_of(f"v{n}"), key_of(f"v{n}", 1)) if key is not None
        }
        return [known[each.public_key] for each in self.sets[epoch]]

    def qc(self, header: Header, epoch: int | None = None, keys: Sequence[SigningKey] | None = None) -> QC:
        """A certificate of any header by the first quorum of an epoch's set: by default that of the header's."""
        signers = keys if keys is not None else self.keys(header.epoch if epoch is None else epoch)
        phase = rules_of(self.document.consensus).PHASES[-1]
        signatures = []
        for voter, key in enumerate(signers[: len(signers) * 2 // 3 + 1]):
            vote = Vote(header.epoch, header.view, phase, header.height, header.block_hash, voter)
            signatures.append((voter, key.sign(signing_message(self.document.chain_id, vote))))
        return QC(header.epoch, header.view, phase, header.height, header.block_hash, tuple(signatures))

    def first_of(self, epoch: int) -> int:
        """The first epoch of the set of an epoch."""
        return max((each + 1 for each in self.changed if each < epoch), default=0)

    @property
    def changed(self) -> list[int]:
        """The epochs whose edges changed the set."""
        return sorted({epoch_of_block(height, EPOCH_BLOCKS) for height in self.changes})

    def link(self, epoch: int) -> Link:
        """What leads over the edge of an epoch that changed the set."""
        edge, header = edge_height(epoch, EPOCH_BLOCKS), self.closing[epoch]
        found = (self.rows[edge, self.first_of(epoch)], self.rows[edge, epoch + 1])
        buckets = {each.bucket: each for each in found}
        return Link(header, self.qc(header), tuple(buckets[each] for each in sorted(buckets)))

    def links(self, since: int = 0, to: int = 99) -> tuple[Link, ...]:
        """The links of the epochs from `since` to before `to`."""
        return tuple(self.link(each) for each in self.changed if since <= each < to)

    def start(self, height: int) -> Start:
        """Down from a block."""
        epoch = epoch_of_block(height, EPOCH_BLOCKS)
        base = edge_height(epoch - 1, EPOCH_BLOCKS)
        headers = [self.headers[height]]
        while headers[-1].anchor.height != base:
            headers.append(self.headers[headers[-1].anchor.height])
        return Start(tuple(headers), self.rows[base, self.first_of(epoch)])

    def proof(self, height: int, history: History) -> StateProof:
        """That `ABSENT` has no entry, by the header at `height`."""
        header = self.headers[height]
        anchor, epoch = header.anchor.height, header.epoch
        standing = self.rows[anchor, self.first_of(epoch)] if epoch else None
        absent = (self.absent[anchor],)
        return StateProof(self.document.chain_id, header, self.qc(header), absent, standing, history)

    def trust(self, height: int) -> Trust:
        """Trust in the block at `height`."""
        return Trust(self.document, TrustedBlock(height, self.headers[height].block_hash))

    def _grow(self, height: int) -> None:
        parent, now = self.headers[height - 1], T0_UNIX_MS + 1_000 * height
        epoch = epoch_of_block(height, EPOCH_BLOCKS)
        self.sets.setdefault(epoch, validator_set_of(self.state, epoch))
        header = self._header(epoch, height, parent, max(height - 2, edge_height(epoch - 1, EPOCH_BLOCKS), 0))
        self.headers[height] = header
        envelopes = verify_all(self._changes(height, epoch, now))
        output = apply_block(self.state, BlockInput(height, now, envelopes))
        assert all(each.applied for each in output.receipts), output.receipts
        self.roots[height] = output.root
        self.absent[height] = self.state.prove(ABSENT.entry_key)
        for first in self.state.standing.first_epochs:
            self.rows[height, first] = self.state.prove(validator_set_key(self.state, first))
        if is_edge(height, EPOCH_BLOCKS):
            self.rows[height, epoch + 1] = self.state.prove(set_entry_key(epoch + 1))
            above = self._header(epoch, height + 1, header, height - 1)
            self.closing[epoch] = self._header(epoch, height + 2, above, height)

    def _header(self, epoch: int, height: int, parent: Header, anchor: int) -> Header:
        named = Anchor(anchor, self.headers[anchor].block_hash, self.roots[anchor])
        time, view = T0_UNIX_MS + 1_000 * height, height
        return Header(epoch, height, view, 0, parent.block_hash, parent.view, time, named, ())

    def _changes(self, height: int, epoch: int, now: int) -> Iterable:  # type: ignore[type-arg]
        if height not in self.changes:
            return []
        kind, fields = self.changes[height]
        if "certificate" in fields:
            certificate = fields["certificate"]
            fields = {**fields, "public_key": key_of(fields["validator"]).public_key.hex(), "certificate": certificate}
        elif kind == "validator.rotate_key":
            fields = {**fields, "public_key": key_of(fields["validator"], 1).public_key.hex()}
        quorum = len(self.sets[epoch]) * 2 // 3 + 1
        keys, operation = self.keys(epoch)[:quorum], build_operation(kind, fields)
        wire = sign_envelope(self.document.chain_id, keys, [operation], now + 60_000, height.to_bytes(16, "big"))
        return [decode_envelope(wire, self.document.chain_id, self.document.limits)]


@cache
def changing_chain(consensus: str = "hotstuff") -> ChangingChain:
    """The chain, made once for each engine."""
    return ChangingChain(replace(document_of(4, SHORT), consensus=consensus))


@cache
def another_past(consensus: str = "hotstuff") -> ChangingChain:
    """A chain that the validators of the same genesis document never made, signed with their keys all the same."""
    return ChangingChain(replace(document_of(4, SHORT), consensus=consensus), ANOTHER_PAST)
