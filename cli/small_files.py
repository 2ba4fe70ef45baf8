"""Reading a small file that somebody names: never more of it than allowed, and never a wait without an end."""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path
from typing import Final

from cli.output import Failure

PIPE_S_MAX: Final = 10
"""How long a pipe, such as the shell's ``<(...)``, may take to say everything."""


def read_small(file: Path, size_max: int) -> bytes:
    """What is in `file`, but not more than ``size_max + 1`` bytes: who gets that many knows that it is too large.

    Args:
        file: A regular file, or a pipe to which somebody writes.
        size_max: In bytes.

    Raises:
        Failure: It is neither (``no_plain_file``), or the pipe is silent (``silent_pipe``).
        OSError: It cannot be read.
    """
    # Without O_NONBLOCK, to open a pipe to which nobody writes would wait for ever.
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if stat.S_ISREG(mode):
            return _all(opened.fileno(), size_max)
        if not stat.S_ISFIFO(mode):
            raise Failure(f"{file} is neither a file nor a pipe.", code="no_plain_file")
        said = _said(opened.fileno(), size_max)
    if said is None:
        raise Failure(f"{file}: the pipe did not end within {PIPE_S_MAX} s.", code="silent_pipe")
    return said


def _all(descriptor: int, size_max: int) -> bytes:
    parts: list[bytes] = []
    left = size_max + 1
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _said(descriptor: int, size_max: int) -> bytes | None:
    """As `_all`, from a pipe; None where it does not end in time."""
    poll, deadline = select.poll(), time.monotonic() + PIPE_S_MAX
    poll.register(descriptor, select.POLLIN)
    parts: list[bytes] = []
    left = size_max + 1
    while left:
        if not poll.poll(max(0, int((deadline - time.monotonic()) * 1_000))):
            return None
        part = os.read(descriptor, left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
