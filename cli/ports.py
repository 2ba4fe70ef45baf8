"""Ports for the validators of a testnet.

A validator that is stopped leaves its ports to whoever asks first. Those of outgoing connections (Linux gives them from
32,768 on, others from 49,152 on: RFC 6335, section 6) could hold them when it is started again; `PORTS` lie below.
"""

from __future__ import annotations

import errno
import secrets
import socket
from contextlib import ExitStack
from itertools import chain
from typing import Final

from genesis.errors import Rejected
from node.config import LOOPBACK

PORTS: Final = range(10_240, 32_768)


def free_ports(count: int) -> list[int]:
    """Loopback ports of `PORTS` that are free now, from a random one on; all are held until the last is found.

    Args:
        count: 1 or more.

    Raises:
        Rejected: ``no_ports``, fewer than `count` are free.
    """
    begin = secrets.randbelow(len(PORTS))
    found: list[int] = []
    with ExitStack() as held:
        for port in chain(PORTS[begin:], PORTS[:begin]):
            try:
                held.enter_context(socket.create_server((LOOPBACK, port)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise Rejected("no_ports", "Too few ports of this machine are free.", free=len(found), needed=count)
