"""Network addresses as people write them: ``host:port``, an IPv6 host in brackets.

One parser for the genesis document, a node's settings and the command line, so that no address passes one of them and
stops another.
"""

from __future__ import annotations

import re
from typing import Final

from genesis.errors import Rejected

PORT_MAX: Final = 65_535
_ADDRESS: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9._-]{1,253})|\[(?P<v6>(?=[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?)\]):(?P<port>[0-9]{1,5})"
)
"""A host name (at most 253 characters, RFC 1035) or IPv4 address, or an IPv6 address with its zone; and a port."""


def split_address(address: str) -> tuple[str, int]:
    """The host, without brackets, and the port from 1 to `PORT_MAX`. Whether the host exists is not looked at.

    Raises:
        Rejected: ``bad_address``.
    """
    found = _ADDRESS.fullmatch(address)
    port = int(found["port"]) if found else 0
    if found is None or not 1 <= port <= PORT_MAX:
        message = "An address is host:port, the host in ASCII (IPv6 in brackets), the port from 1 to 65535."
        raise Rejected("bad_address", message, address=address[:80])
    return found["name"] or found["v6"], port


def join_address(host: str, port: int) -> str:
    """``host:port``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
