"""Certificates: the same bytes for ever, and readable by strangers' tools."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from genesis.document import CERTIFICATE_BYTES_MAX
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.certificates import NOT_AFTER, NOT_BEFORE, certificate_public_key, key_pem, make_certificate
from node.tls import TlsIdentity

SEED = bytes(range(32))


def test_certificate_is_the_same_bytes_for_ever() -> None:
    """The genesis document pins the bytes: a library that builds others would lock the validator out of its chain."""
    der = make_certificate(SEED, "v0")
    assert der == make_certificate(SEED, "v0")
    assert hashlib.sha256(der).hexdigest() == "c48bb8cdeb601e9645c1492c370113e966dd05f8090b9abd184fc503d8c56243"
    assert len(der) <= CERTIFICATE_BYTES_MAX


def test_certificate_holds_the_key_of_its_seed_and_its_own_signature() -> None:
    """Peers pin the bytes, but operators compare keys."""
    der = make_certificate(SEED, "v0")
    assert certificate_public_key(der) == SigningKey(SEED).public_key
    certificate = x509.load_der_x509_certificate(der)
    certificate.verify_directly_issued_by(certificate)
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc.year) == (NOT_BEFORE, NOT_AFTER.year)


def test_names_and_seeds_make_different_certificates() -> None:
    """Two validators must never be mistaken for each other."""
    made = {make_certificate(seed, name) for seed in (SEED, bytes(32)) for name in ("v0", "v1")}
    assert len(made) == 4


def elliptic() -> bytes:
    """A valid certificate of a key that is not Ed25519."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "der",
    [b"", b"noise", make_certificate(SEED, "v0")[:-1], make_certificate(SEED, "v0") + bytes(1_024), elliptic()],
    ids=["empty", "noise", "truncated", "too large", "elliptic"],
)
def test_what_is_not_a_validators_certificate_is_rejected(der: bytes) -> None:
    """Genesis documents are written by people."""
    with pytest.raises(Rejected) as rejected:
        certificate_public_key(der)
    assert rejected.value.code == "bad_certificate"


def test_key_is_never_written_or_shown_in_clear() -> None:
    """Secrets at rest are encrypted, and no log line can print one."""
    pem = key_pem(SEED, b"password")
    assert b"ENCRYPTED" in pem
    with pytest.raises((TypeError, ValueError)):
        load_pem_private_key(pem, password=None)
    assert SEED.hex() not in repr(TlsIdentity(b"", SEED))
    assert repr(SEED) not in repr(TlsIdentity(b"", SEED))
