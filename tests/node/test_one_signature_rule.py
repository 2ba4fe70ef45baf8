"""Every path on which a signature decides gives one verdict on the edge cases of Ed25519: docs/FAULTS.md row 32.

The published vectors sign messages of their own, so they reach only the bare rule (``tests/genesis/test_signing.py``).
Here the same cases are made for the very message that each path signs: keys and nonces with a part of small order,
other encodings, S above L. The rule written out in integers says what each verdict must be.

Hellos are not signed: TLS proves the pinned certificates, by OpenSSL's rule, and nothing of it enters the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha512

import pytest

from consensus.certificates import Verifier
from consensus.config import CoreConfig
from consensus.engine import rules_of
from consensus.leaders import LeaderSchedule
from consensus.types import (
    QC,
    TC,
    Proposal,
    Timeout,
    TimeoutSignature,
    Vote,
    genesis_header,
    genesis_qc,
    signing_message,
)
from consensus.validators import Validator, ValidatorSet
from contracts.operations import build_operation
from genesis import signing
from genesis.codec import encode
from genesis.envelope import decode_envelope, verify_all
from genesis.errors import Rejected
from genesis.evidence import Half, Offence, make_evidence, verify_evidence
from genesis.hashing import Domain, digest
from genesis.signing import SigningKey
from genesis.statements import Phase
from node import signatures
from tests.genesis.ed25519_reference import BASE, NEUTRAL, L, P, Point, add, decompress, multiply, verdict
from tests.node.dataplane import CHAIN_ID, FORMAT, PARAMS, T0_UNIX_MS, envelope_wire

GENESIS = genesis_header(CHAIN_ID, T0_UNIX_MS, bytes(32))
HONEST = [SigningKey(bytes([index + 1]) * 32) for index in range(4)]
ODD = 2
"""The validator, or signer, whose key and signature are the odd ones."""

SECRET = 0x1234567890ABCDEF
assert BASE is not None
BASE_POINT: Point = BASE
TORSION = next(
    point
    for encoding in ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",)
    if (point := decompress(bytes.fromhex(encoding))) is not None
)
"""A point of order eight."""


def compress(point: Point) -> bytes:
    """The canonical encoding."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    """k of the rule."""
    return int.from_bytes(sha512(r + key + message).digest(), "little") % L


KEYS: dict[str, bytes] = {
    "an honest key": compress(multiply(SECRET, BASE_POINT)),
    "a key of mixed order": compress(add(multiply(SECRET, BASE_POINT), TORSION)),
    "a key of small order": compress(TORSION),
    "the neutral element": compress(NEUTRAL),
    "a key in another encoding": (P + 1).to_bytes(32, "little"),
}


@dataclass(frozen=True)
class Case:
    """A way to sign with one of `KEYS`; the nonce is tried until k is as it should be."""

    name: str
    key: str
    small_nonce: bool = False
    malleable: bool = False
    k_multiple_of: int = 1
    k_not_multiple_of: int = 0

    def sign(self, message: bytes) -> bytes:
        """The signature, made with the part of the key that is not small."""
        key = KEYS[self.key]
        secret = (
            0 if self.key in ("a key of small order", "the neutral element", "a key in another encoding") else SECRET
        )
        for nonce in range(1, 400):
            point = TORSION if self.small_nonce else multiply(nonce, BASE_POINT)
            r = compress(point)
            k = challenge(r, key, message)
            if k % self.k_multiple_of == 0 and not (self.k_not_multiple_of and k % self.k_not_multiple_of == 0):
                s = ((0 if self.small_nonce else nonce) + k * secret) % L
                return r + (s + L if self.malleable else s).to_bytes(32, "little")
            if self.small_nonce:
                break
        return r + bytes(32)


CASES = (
    Case("honest", "an honest key"),
    Case("S above L", "an honest key", malleable=True),
    Case("R of small order", "an honest key", small_nonce=True),
    Case("A of mixed order, its small part cancelled", "a key of mixed order", k_multiple_of=8),
    Case("A of mixed order, valid only with the cofactor", "a key of mixed order", k_not_multiple_of=8),
    Case("A of small order, the equation holds", "a key of small order", k_multiple_of=8),
    Case("A of small order, the equation does not hold", "a key of small order", k_not_multiple_of=8),
    Case("A and R of small order", "a key of small order", small_nonce=True),
    Case("A the neutral element", "the neutral element"),
    Case("A in another encoding", "a key in another encoding"),
)
EXPECTED = {"honest": True, "A of mixed order, its small part cancelled": True}


# --- the paths --------------------------------------------------------------------------------------------------------


def accepts(check: Callable[[], object]) -> bool:
    """Whether a check passes; a refusal must be for the signature."""
    try:
        check()
    except Rejected as refusal:
        if refusal.code != "bad_signature":
            raise
        return False
    return True


def validators(key: bytes) -> ValidatorSet:
    """Four validators, the odd key among them."""
    keys = [key if index == ODD else each.public_key for index, each in enumerate(HONEST)]
    return ValidatorSet(0, tuple(Validator(index, f"v{index}", each, 1) for index, each in enumerate(keys)))


def verifier(key: bytes, engine: str = "hotstuff") -> Verifier:
    """A core's judge of what peers say."""
    members = validators(key)
    config = CoreConfig(CHAIN_ID, 0, members, PARAMS, GENESIS)
    return Verifier(config, rules_of(engine))


def vote_of(voter: int, signature: bytes = b"") -> Vote:
    """A vote of view 2."""
    return Vote(0, 2, Phase.CERTIFY, 2, bytes(32), voter, signature)


def timeout_of(voter: int, signature: bytes = b"") -> Timeout:
    """A timeout of view 1 on block 0."""
    return Timeout(0, 1, genesis_qc(GENESIS.block_hash), None, voter, signature)


def by_vote(case: Case, key: bytes) -> bool:
    """A vote."""
    signature = case.sign(signing_message(CHAIN_ID, vote_of(ODD)))
    return accepts(lambda: verifier(key).check_vote(vote_of(ODD, signature)))


def by_timeout(case: Case, key: bytes) -> bool:
    """A timeout."""
    signature = case.sign(signing_message(CHAIN_ID, timeout_of(ODD)))
    return accepts(lambda: verifier(key).check_timeout(timeout_of(ODD, signature)))


def by_qc(case: Case, key: bytes) -> bool:
    """A vote within a quorum certificate."""
    message = signing_message(CHAIN_ID, vote_of(ODD))
    marks = [(index, case.sign(message) if index == ODD else HONEST[index].sign(message)) for index in range(1, 4)]
    qc = QC(0, 2, Phase.CERTIFY, 2, bytes(32), tuple(marks))
    return accepts(lambda: verifier(key).check_qc(qc))


def by_tc(case: Case, key: bytes) -> bool:
    """A timeout within a timeout certificate."""
    message = signing_message(CHAIN_ID, timeout_of(ODD))
    made = [(index, case.sign(message) if index == ODD else HONEST[index].sign(message)) for index in range(1, 4)]
    tc = TC(0, 1, genesis_qc(GENESIS.block_hash), tuple(TimeoutSignature(index, 0, each) for index, each in made))
    return accepts(lambda: verifier(key).check_tc(tc))


def by_proposal(case: Case, key: bytes) -> bool:
    """A proposal of the odd validator's view."""
    leaders = LeaderSchedule(validators(key))
    view = next(each for each in range(1, 9) if leaders.leader(each) == ODD)
    header = genesis_header(CHAIN_ID, T0_UNIX_MS + 1, bytes(32))
    header = type(header)(0, 1, view, ODD, GENESIS.block_hash, 0, T0_UNIX_MS + 1, header.anchor, ())
    proposal = Proposal(view, header, genesis_qc(GENESIS.block_hash), None)
    signature = case.sign(signing_message(CHAIN_ID, proposal))
    return accepts(lambda: verifier(key).check_proposal(Proposal(view, header, proposal.justify, None, signature)))


def by_evidence(case: Case, key: bytes) -> bool:
    """One of two votes that contradict each other, as a transaction shows them."""
    halves = []
    for block_hash in (bytes(32), b"\1" * 32):
        message = signing_message(CHAIN_ID, Vote(0, 2, Phase.CERTIFY, 2, block_hash, ODD))
        halves.append(Half((2, block_hash), case.sign(message)))
    evidence = make_evidence(Offence.VOTE, 0, 2, ODD, *halves)
    keys = [each.public_key for each in validators(key).members]
    return accepts(lambda: verify_evidence(evidence, CHAIN_ID, keys))


def envelope(case: Case, key: bytes) -> bytes:
    """An envelope that the odd key alone signs."""
    operation = build_operation("asset.register", {"asset": "ABC", "decimals": "2"})
    body = encode([CHAIN_ID, [key], [list(operation)], T0_UNIX_MS + 1_000, bytes(16)])
    return encode([body, [case.sign(digest(Domain.ENVELOPE, body))]])


def by_envelope(case: Case, key: bytes) -> bool:
    """An envelope by itself, as a client posts it and a library checks it."""
    decoded = decode_envelope(envelope(case, key), CHAIN_ID, PARAMS)
    return accepts(lambda: verify_all([decoded]))


def by_batch(case: Case, key: bytes) -> bool:
    """An envelope among others in a peer's batch, where many signatures are checked at once."""
    wires = [*(envelope_wire(number) for number in range(20)), envelope(case, key)]
    wire = encode([1, 0, wires])
    return accepts(lambda: FORMAT.open(wire, FORMAT.digest(wire), 1))


def by_rule(case: Case, key: bytes) -> bool:
    """The bare rule."""
    return signing.is_valid(key, b"message", case.sign(b"message"))


def by_loop(case: Case, key: bytes) -> bool:
    """The rule over many at once, compiled: the odd one first, last and alone."""
    odd = (key, b"message", case.sign(b"message"))
    rest = [(each.public_key, b"message", each.sign(b"message")) for each in HONEST * 5]
    found = [signatures.first_invalid(each) for each in ([odd, *rest], [*rest, odd], [odd])]
    assert found in ([None, None, None], [0, len(rest), 0])
    return found[0] is None


PATHS = (
    by_rule, by_loop, by_envelope, by_batch, by_vote, by_timeout, by_qc, by_tc, by_proposal, by_evidence,
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_every_path_gives_the_one_verdict(case: Case, path: Callable[[Case, bytes], bool]) -> None:
    """Two paths that disagree split the chain: one validator's quorum is another's nothing."""
    assert path(case, KEYS[case.key]) == EXPECTED.get(case.name, False)


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_the_cases_are_what_they_are_called(case: Case) -> None:
    """The rule in integers, which knows no library, gives the same verdicts."""
    signature = case.sign(b"message")
    assert (verdict(KEYS[case.key], b"message", signature) == "valid") == EXPECTED.get(case.name, False)


def with_the_cofactor(case: Case) -> bool:
    """Whether a rule that multiplies by the cofactor and allows small order would take it."""
    key, signature = KEYS[case.key], case.sign(b"message")
    a, r = decompress(key), decompress(signature[:32])
    if a is None or r is None:
        return False
    s, k = int.from_bytes(signature[32:], "little"), challenge(signature[:32], key, b"message")
    return multiply(8 * s, BASE_POINT) == multiply(8, add(r, multiply(k, a)))


def test_other_rules_would_answer_differently() -> None:
    """Cases that every rule refuses would show nothing."""
    differing = [case.name for case in CASES if with_the_cofactor(case) != EXPECTED.get(case.name, False)]
    assert len(differing) >= 5
