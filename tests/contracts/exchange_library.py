"""Prints the bytecode modules of `contracts/library/` from the programs' texts: `make library`. A core reads no files.

``python -m tests.contracts.exchange_library exchange|actus``
"""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.vm.bytecode import encode_program
from contracts.vm.language.compiler import compile_text

LIBRARY = Path(__file__).resolve().parents[2] / "contracts" / "library"
NAMES = {"exchange": ("vanilla_linear", "vanilla_inverse"), "actus": ("actus_option",)}
TITLES = {
    "exchange": "The programs whose instances the exchange's series are",
    "actus": "The program whose instances ACTUS options are",
}
HEAD = '''"""{title}, in bytecode: `make library` makes it.

A core reads no files, so the bytes stand here; a test compiles the texts and compares.
"""

from __future__ import annotations

from typing import Final
'''


def rendered(module: str) -> str:
    """The whole file."""
    parts = [HEAD.format(title=TITLES[module])]
    for name in NAMES[module]:
        encoded = encode_program(compile_text((LIBRARY / f"{name}.contract").read_bytes()).program).hex()
        lines = "\n".join(f'    "{encoded[at : at + 112]}"' for at in range(0, len(encoded), 112))
        parts.append(f"{name.upper()}: Final = bytes.fromhex(\n{lines}\n)\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(rendered(sys.argv[1]), end="")
