"""Certificates of a Dask cluster: one for the scheduler, its workers and its clients each, which trust just these.

They are self-signed like the validators' (`node.certificates`), and have nothing to do with any chain: whoever holds
one may compute on the cluster. Dask's own programs cannot ask for a passphrase, so the keys lie in files that only
their owner can read, unencrypted.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.certificates import certificate_pem, make_certificate
from node.files import create_private

ROLES: Final = ("scheduler", "worker", "client")
TRUSTED: Final = "trusted.pem"


def make_cluster_keys(folder: Path) -> list[Path]:
    """Write ``ROLE.pem`` and ``ROLE-key.pem`` for each role, and all certificates together as ``trusted.pem``.

    Raises:
        Rejected: ``file_exists``: nothing is overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Path, bytes] = {}
    trusted = b""
    for role in ROLES:
        seed = secrets.token_bytes(32)
        certificate = certificate_pem(make_certificate(seed, f"cluster {role}"))
        key = Ed25519PrivateKey.from_private_bytes(seed)
        files[folder / f"{role}-key.pem"] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[folder / f"{role}.pem"] = certificate
        trusted += certificate
    files[folder / TRUSTED] = trusted
    for path, data in files.items():
        create_private(path, data)
    return list(files)
