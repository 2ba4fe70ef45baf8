"""Certificates of validators: self-signed X.509 around an Ed25519 network key, the same bytes every time.

Rules:

1. A certificate is a function of the seed and the name alone: fixed serial number, fixed dates, Ed25519's
   deterministic signature. Whoever holds the key can make it again, and the genesis document pins its exact bytes.
2. No authority signs it and none is trusted: validity means being the pinned bytes (`node.tls`, `node.hello`). The
   dates span all practical time, because a certificate leaves the chain by leaving its registry, not by growing old.
3. Private keys are encrypted whenever they touch a file.

Source: RFC 5280 sections 4.1 (fields), 4.1.2.5 (99991231235959Z: no well-defined expiration); RFC 8410 (Ed25519 in
X.509).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from genesis.document import CERTIFICATE_BYTES_MAX
from genesis.errors import Rejected

NOT_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)
NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
SERIAL_NUMBER: Final = 1
ORGANISATION: Final = "Novate validator"


def make_certificate(seed: bytes, name: str) -> bytes:
    """The certificate (DER) of the network key grown from `seed`.

    Args:
        seed: The 32-byte Ed25519 seed of the network key.
        name: The validator's name, the subject's common name; at most 64 characters.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(SERIAL_NUMBER)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signing_only(), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, algorithm=None).public_bytes(Encoding.DER)


def certificate_public_key(certificate: bytes) -> bytes:
    """The 32-byte Ed25519 public key inside a certificate (DER).

    Raises:
        Rejected: ``bad_certificate`` when it is too large, not X.509, or holds another kind of key.
    """
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise Rejected("bad_certificate", "The certificate is over 1024 bytes.", size=len(certificate))
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Rejected("bad_certificate", f"The certificate is not X.509 in DER: {error}.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Rejected("bad_certificate", "The certificate's key is not Ed25519.", found=type(key).__name__)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_pem(seed: bytes, password: bytes) -> bytes:
    """The private key as PKCS #8 PEM, encrypted under `password` (for `ssl`, which reads keys from files only)."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))


def certificate_pem(certificate: bytes) -> bytes:
    """The certificate (DER) as PEM."""
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
