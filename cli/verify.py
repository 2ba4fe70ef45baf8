"""``novate verify``: check a proof of the state against the genesis document, without asking anybody.

What it checks is stated in `node.proof`: entry → state root → header → certificate → validator set. No validator, no
key and no network is needed; a proof comes from ``novate query ... --prove --json`` or ``GET /v1/proofs/...``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from cli.named_files import read_named
from cli.output import Output, reporting
from genesis.errors import Rejected
from genesis.hashing import DIGEST_BYTES
from node.home import read_document
from node.proof import PROOF_BYTES_MAX, decode_proof, shows_trusted_block, verify_document
from node.trust import Trust, TrustedBlock

FILE_BYTES_MAX: Final = 4 * PROOF_BYTES_MAX
TEXT_SHOWN_MAX: Final = 128
"""Of a field, for people: two digests."""


class BlockHash(click.ParamType[bytes]):
    """A block's hash in hexadecimal."""

    name = "hash"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The hash as bytes."""
        if isinstance(value, bytes):
            return value
        text = str(value)
        try:
            found = bytes.fromhex(text)
        except ValueError:
            found = b""
        if len(found) != DIGEST_BYTES:
            self.fail(f"{text!r} is no block's hash: that has {2 * DIGEST_BYTES} hexadecimal digits.", param, ctx)
        return found


def trusted_block(height: int | None, block_hash: bytes | None) -> TrustedBlock | None:
    """The block that ``--trust-height`` and ``--trust-hash`` name together."""
    if (height is None) != (block_hash is None):
        raise click.UsageError("--trust-height and --trust-hash go together.")
    return TrustedBlock(height, block_hash) if height is not None and block_hash is not None else None


@click.command()
@click.argument("proof", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--genesis",
    "genesis_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The genesis document of the chain.",
)
@click.option("--trust-height", type=click.IntRange(1), help="The height of a block that you trust.")
@click.option("--trust-hash", type=BlockHash(), help="That block's hash; what is certified below it proves nothing.")
@reporting
def verify(out: Output, proof: Path, genesis_file: Path, trust_height: int | None, trust_hash: bytes | None) -> None:
    """Verify the PROOF in a file (or - for standard input), offline.

    Exit code 0 means that a quorum of the chain's validators certified what the proof says. With a trusted block of the
    first epoch it says besides whether the proof holds that block, so that its hash was compared.
    """
    trust = Trust(read_document(genesis_file), trusted_block(trust_height, trust_hash))
    verified = verify_document(trust, _read_json(proof))
    compared = shows_trusted_block(trust, decode_proof(bytes.fromhex(verified["proof"])))
    trusted = None if trust.block is None else _trusted(trust.block, compared)
    result = {
        "valid": True,
        "trusted_block": trusted,
        **{name: value for name, value in verified.items() if name != "proof"},
    }
    out.result(result, lambda: show_proof(out, verified))
    out.line("Valid: a quorum of the chain's validators certified this state.")
    if trust.block is not None:
        out.line(_says_of(trust.block, compared))


def _trusted(block: TrustedBlock, compared: bool) -> dict[str, Any]:
    """What ``--json`` says of the trusted block."""
    return {"height": block.height, "block_hash": block.block_hash.hex(), "hash_compared": compared}


def _says_of(block: TrustedBlock, compared: bool) -> str:
    """What was checked against the trusted block, and what was not, for people."""
    if compared:
        return f"It holds block {block.height}, and that has the hash that you trust."
    return (
        f"Not checked: the hash that you trust. The proof does not hold block {block.height}, so it was only checked "
        f"that nothing in it is certified below. A proof of the state after block {block.height} compares the hash."
    )


def show_proof(out: Output, proof: dict[str, Any]) -> None:
    """What a proof says, for people."""
    certified = proof["certified_by"]
    out.pairs(
        "State",
        {
            "height": proof["height"],
            "state root": proof["state_root"],
            "certified at height": certified["height"],
            "by": ", ".join(certified["voters"]),
        },
    )
    for entry in proof["entries"]:
        name = f"{entry['table']} {' '.join(str(each) for each in entry['key'])}"
        if entry["row"] is None:
            out.line(f"{name}: absent")
        else:
            out.pairs(name, {field: _shown(value) for field, value in entry["row"].items()})


def _shown(value: Any) -> Any:
    """A field for people: lists without Python's signs, and no more of long bytes than tells them apart."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, str) and len(value) > TEXT_SHOWN_MAX:
        return f"{value[:TEXT_SHOWN_MAX]}... ({len(value):,} characters; all with --json)"
    return value


def _read_json(path: Path) -> Any:
    """The document in a file, bounded.

    Raises:
        Rejected: ``too_large``, ``not_json``.
    """
    data = read_named(path, FILE_BYTES_MAX)
    if len(data) > FILE_BYTES_MAX:
        raise Rejected("too_large", "The file is over the size of any proof.", size_max=FILE_BYTES_MAX)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, json.JSONDecodeError) else ", or one that nests or counts too far"
        raise Rejected("not_json", f"The file holds no JSON document{reason}.") from error
