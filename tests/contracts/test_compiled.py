"""The cache's key follows everything that a compiled function depends on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from contracts import compiled

ROOT = Path(__file__).resolve().parents[2]
CALLEE = "from contracts.compiled import inlined\nRATE = {rate}\n\n@inlined\ndef doubled(x):\n    return x * RATE\n"
CALLER = (
    "from contracts.compiled import kernel\nfrom callee import doubled\n\n@kernel\ndef f(x):\n    return doubled(x)\n"
)


def run(folder: Path, rate: str) -> str:
    """What `f(3.0)` gives in a fresh interpreter that keeps its cache in `folder`."""
    (folder / "callee.py").write_text(CALLEE.format(rate=rate))
    (folder / "caller.py").write_text(CALLER)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": f"{folder}:{ROOT}"}
    environment.pop("NUMBA_DISABLE_JIT", None)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    code = "import caller; print(caller.f(3.0), sum(caller.f.stats.cache_hits.values()))"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_an_edited_callee_in_another_file_is_compiled_anew(tmp_path: Path) -> None:
    """Numba alone would go on with the old constant, and this validator's prices would differ from its peers'."""
    assert run(tmp_path, "2.0") == "6.0 0"
    assert run(tmp_path, "2.0") == "6.0 1"
    assert run(tmp_path, "2.5") == "7.5 0"


def test_the_key_follows_code_and_constants() -> None:
    """Two functions that differ in one constant must not share a compiled form."""
    assert len({compiled.key(each) for each in (lambda x: x + 1.0, lambda x: x + 2.0, lambda x: x - 1.0)}) == 3
