"""How the fuzzer's bytes reach a decoder of text or of a file; see `tests.fuzz.registry`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from genesis.errors import Rejected

SCRATCH: Final = tempfile.TemporaryDirectory(prefix="novate-fuzz-")
"""Where decoders of files find what is to be decoded."""


def in_text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """A parser of text, given bytes; what is not UTF-8 never reaches it."""

    def decode_text(data: bytes) -> Any:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Rejected("not_text", "Not UTF-8.") from error
        return parse(text)

    return decode_text


def in_file(name: str, parse: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A parser of a file, which it finds in a directory of its own under this name."""

    def decode_file(data: bytes) -> Any:
        home = Path(SCRATCH.name) / name.replace("/", "-")
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        return parse(home)

    return decode_file
