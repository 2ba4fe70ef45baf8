"""How messages, certificates and the safety state look as bytes.

Rules:

1. The one canonical encoding of `genesis.codec`, bounded before it is decoded; every field has a declared range.
2. A message is a record that opens with its tag. What a record means is fixed for one version of the wire, which peers
   compare before anything else (`node.hello`).
3. Signatures stand in strictly ascending order of their signers, so a certificate has one form and counts nobody twice.
4. What decodes is well-formed, not true: no signature has been checked.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from consensus.events import SafetyState
from consensus.types import QC, TC, Anchor, Certificates, Header, Message, Proposal, Timeout, TimeoutSignature, Vote
from genesis.codec import Shape, Value, choice, decode, encode, integer, optional, record, sequence
from genesis.document import VALIDATORS_MAX
from genesis.errors import Rejected
from genesis.params import BLOCK_BATCHES_MAX
from genesis.statements import Phase
from genesis.values import DIGEST, SIGNATURE, UNIX_MS

MESSAGE_BYTES_MAX: Final = 131_072
"""Over the largest message: a timeout with a QC and a TC of `VALIDATORS_MAX` signers, and a full block's header."""

_PROPOSAL, _VOTE, _TIMEOUT, _CERTIFICATES = 1, 2, 3, 4

_EPOCH: Final = integer(0, 2**32)
_VIEW: Final = integer(0, 2**48)
_HEIGHT: Final = integer(0, 2**48)
_PHASE: Final = integer(min(Phase), max(Phase))
_INDEX: Final = integer(0, VALIDATORS_MAX - 1)
_ANCHOR: Final = record(_HEIGHT, DIGEST, DIGEST)
_HEADER: Final = record(
    _EPOCH,
    _HEIGHT,
    _VIEW,
    _INDEX,
    DIGEST,
    _VIEW,
    UNIX_MS,
    _ANCHOR,
    sequence(DIGEST, 0, BLOCK_BATCHES_MAX),
)


def _signers(item: Shape) -> Shape:
    """A sequence of signatures, each opening with its signer, in strictly ascending order."""
    items = sequence(item, 0, VALIDATORS_MAX)

    def check(value: Value) -> None:
        items(value)
        voters = [each[0] for each in value]
        if any(left >= right for left, right in pairwise(voters)):
            raise Rejected("malformed", "Signatures stand in ascending order of their signers, once each.")

    return check


_QC: Final = record(_EPOCH, _VIEW, _PHASE, _HEIGHT, DIGEST, _signers(record(_INDEX, SIGNATURE)))
_TC: Final = record(_EPOCH, _VIEW, _QC, _signers(record(_INDEX, _VIEW, SIGNATURE)))
_PROPOSAL_FIELDS: Final = (_VIEW, _HEADER, _QC, optional(_TC), SIGNATURE)
_PROPOSAL_RECORD: Final = record(*_PROPOSAL_FIELDS)
_TIMEOUT_FIELDS: Final = (_EPOCH, _VIEW, _QC, optional(_TC), _INDEX)
_LAST_TIMEOUT: Final = record(*_TIMEOUT_FIELDS)
_SAFETY: Final = record(_EPOCH, _VIEW, _VIEW, _QC, optional(_TC), optional(_LAST_TIMEOUT), _VIEW)
_TAG: Final = integer(0, 255)
_MESSAGE: Final = choice(
    {
        _PROPOSAL: record(_TAG, *_PROPOSAL_FIELDS),
        _VOTE: record(_TAG, _EPOCH, _VIEW, _PHASE, _HEIGHT, DIGEST, _INDEX, SIGNATURE),
        _TIMEOUT: record(_TAG, *_TIMEOUT_FIELDS, SIGNATURE),
        _CERTIFICATES: record(_TAG, _QC, optional(_TC)),
    }
)


def encode_message(message: Message) -> bytes:
    """The bytes of a signed message."""
    match message:
        case Proposal():
            return encode([_PROPOSAL, *_proposal_values(message)])
        case Vote(epoch, view, phase, height, block_hash, voter, signature):
            return encode([_VOTE, epoch, view, int(phase), height, block_hash, voter, signature])
        case Timeout():
            return encode([_TIMEOUT, *_timeout_values(message), message.signature])
        case Certificates(high_qc, high_tc):
            return encode([_CERTIFICATES, _qc_values(high_qc), _tc_values(high_tc)])


def decode_message(data: bytes) -> Message:
    """Parse a message from a peer.

    Raises:
        Rejected: ``too_large`` or ``malformed``.
    """
    tag, *values = decode(data, _MESSAGE, size_max=MESSAGE_BYTES_MAX)
    if tag == _PROPOSAL:
        return _proposal(values)
    if tag == _VOTE:
        epoch, view, phase, *rest = values
        return Vote(epoch, view, Phase(phase), *rest)
    if tag == _TIMEOUT:
        return _timeout(values)
    high_qc, high_tc = values
    return Certificates(_qc(high_qc), _tc(high_tc))


def encode_proposal(proposal: Proposal) -> bytes:
    """The bytes of a signed proposal, as stored and as sent in answers to sync requests."""
    return encode(_proposal_values(proposal))


def decode_proposal(data: bytes) -> Proposal:
    """The inverse of `encode_proposal`; raises `Rejected` (``too_large``, ``malformed``)."""
    return _proposal(decode(data, _PROPOSAL_RECORD, size_max=MESSAGE_BYTES_MAX))


def encode_qc(qc: QC) -> bytes:
    """The bytes of a quorum certificate."""
    return encode(_qc_values(qc))


def decode_qc(data: bytes) -> QC:
    """The inverse of `encode_qc`; raises `Rejected` (``too_large``, ``malformed``)."""
    return _qc(decode(data, _QC, size_max=MESSAGE_BYTES_MAX))


def encode_header(header: Header) -> bytes:
    """The bytes of a header: what its hash covers."""
    return encode(_header_values(header))


def decode_header(data: bytes) -> Header:
    """The inverse of `encode_header`; raises `Rejected` (``too_large``, ``malformed``)."""
    return _header(decode(data, _HEADER, size_max=MESSAGE_BYTES_MAX))


def encode_safety(state: SafetyState) -> bytes:
    """The bytes of the safety state, without a checksum: the file adds its own."""
    return encode(
        [
            state.epoch,
            state.last_voted_view,
            state.last_proposed_view,
            _qc_values(state.high_qc),
            _tc_values(state.high_tc),
            _timeout_values(state.last_timeout) if state.last_timeout is not None else None,
            state.next_epoch_view,
        ]
    )


def decode_safety(data: bytes) -> SafetyState:
    """The inverse of `encode_safety`; raises `Rejected` (``too_large``, ``malformed``)."""
    epoch, voted, proposed, high_qc, high_tc, timeout, barred = decode(data, _SAFETY, size_max=MESSAGE_BYTES_MAX)
    last_timeout = _timeout(timeout) if timeout is not None else None
    return SafetyState(epoch, voted, proposed, _qc(high_qc), _tc(high_tc), last_timeout, barred)


def _qc_values(qc: QC) -> Value:
    return [qc.epoch, qc.view, int(qc.phase), qc.height, qc.block_hash, qc.signatures]


def _qc(values: Value) -> QC:
    epoch, view, phase, *rest = values
    return QC(epoch, view, Phase(phase), *rest)


def _tc_values(tc: TC | None) -> Value:
    if tc is None:
        return None
    signatures = [[each.voter, each.high_qc_view, each.signature] for each in tc.signatures]
    return [tc.epoch, tc.view, _qc_values(tc.high_qc), signatures]


def _tc(values: Value) -> TC | None:
    if values is None:
        return None
    epoch, view, high_qc, signatures = values
    return TC(epoch, view, _qc(high_qc), tuple(TimeoutSignature(*each) for each in signatures))


def _timeout_values(timeout: Timeout) -> list[Value]:
    return [timeout.epoch, timeout.view, _qc_values(timeout.high_qc), _tc_values(timeout.tc), timeout.voter]


def _timeout(values: Value) -> Timeout:
    """From the values of `_timeout_values`, with the signature behind them or without one."""
    epoch, view, high_qc, tc, voter, *signature = values
    return Timeout(epoch, view, _qc(high_qc), _tc(tc), voter, *signature)


def _header_values(header: Header) -> Value:
    anchor = header.anchor
    return [
        header.epoch,
        header.height,
        header.view,
        header.proposer,
        header.parent_hash,
        header.parent_view,
        header.time_unix_ms,
        [anchor.height, anchor.block_hash, anchor.state_root],
        header.payload,
    ]


def _proposal_values(proposal: Proposal) -> list[Value]:
    return [
        proposal.view,
        _header_values(proposal.header),
        _qc_values(proposal.justify),
        _tc_values(proposal.tc),
        proposal.signature,
    ]


def _proposal(values: Value) -> Proposal:
    view, header, justify, tc, signature = values
    return Proposal(view, _header(header), _qc(justify), _tc(tc), signature)


def _header(values: Value) -> Header:
    *fields, anchor, payload = values
    return Header(*[*fields, Anchor(*anchor), payload])
