"""What a user names as a file: read within a bound, where a dash is standard input."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Final

from cli.output import Misuse
from node.small_files import read_small

LARGE_BYTES_MAX: Final = 256 * 2**20
"""Of a file of many rows or lines: a tape, options, transactions."""

_NOWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def read_named(file: Path, size_max: int) -> bytes:
    """What is in `file`, or comes on standard input where that is ``-``, but not more than ``size_max + 1`` bytes.

    Raises:
        Rejected: As `node.small_files.read_small`.
        Misuse: There is no such file.
        OSError: It cannot be read.
    """
    if str(file) != "-":
        try:
            file.stat()
        except OSError as error:
            if error.errno in _NOWHERE:
                raise Misuse.of_system(error) from error
            raise
    return sys.stdin.buffer.read(size_max + 1) if str(file) == "-" else read_small(file, size_max)
