"""``novate signer``: a validator's keys in a process of their own, behind a local socket.

A process that runs a signer ends with 0 after SIGTERM or SIGINT, and with 1 when it refuses to start or its disk fails:
standard error says why and what to do.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.keys import COSTS, cost_option
from cli.output import Output, reporting
from cli.passphrase import passphrase_option, resolve_passphrase
from cli.service import cancel_at_signal, explained
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.failures import StorageFailure
from node.keystore import KeyStore
from node.rotation import later_keys
from node.signer_home import SignerConfig, add_key, default_socket, hand_over, load_signer, opened, signer_file

if TYPE_CHECKING:
    from node.signer_protocol import Standing

home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The signer's directory; not inside the validator's.",
)
socket_option = click.option(
    "--socket",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Where it listens, in a directory of its own. [default: HOME/run/signer.sock, or as it was made]",
)


NOT_READ: Final = "not_read"
"""Why a key is silent that is in the directory and not in the process."""


@click.group()
def signer() -> None:
    """Keep a validator's key in a process of its own."""


@signer.command("init")
@home_option
@click.option(
    "--node",
    "node_home",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The home of the validator, which must not run.",
)
@socket_option
@reporting
def init(out: Output, home: Path, node_home: Path, socket: Path | None) -> None:
    """Take the consensus key out of a validator's home.

    The validator's safety state tells what the key has signed, and becomes the signer's first mark. From then on the
    validator runs without the key and asks the signer. Keys that were made to replace it come along. Repeat the command
    if it was interrupted.
    """
    made = hand_over(node_home, home.resolve(), socket or default_socket(home))
    document = _document(made)
    out.result(document, lambda: out.pairs("Signer", document))


@signer.command("new-key")
@home_option
@passphrase_option
@cost_option
@reporting
def new_key(out: Output, home: Path, passphrase_file: Path | None, cost: str) -> None:
    """Make a consensus key to replace the present one.

    Start the signer again, so that it has the key; the validator's node goes on. Then propose the change with `novate
    gov propose validator.rotate_key`: the node asks for the new key from the epoch on whose validator set names it.
    """
    config = load_signer(home.resolve())
    public_key = add_key(config, resolve_passphrase(home, passphrase_file), COSTS[cost])
    result = {"home": str(config.home), "name": config.name, "public_key": public_key.hex()}
    out.result(result, lambda: out.pairs("New consensus key; start the signer again", result))


@signer.command("run")
@home_option
@socket_option
@passphrase_option
@reporting
def run(out: Output, home: Path, socket: Path | None, passphrase_file: Path | None) -> None:
    """Run a signer until SIGTERM or SIGINT. Logs are JSON lines on standard error."""
    config = load_signer(home.resolve())
    with opened(config, resolve_passphrase(home, passphrase_file)) as keys:
        _run_until_signalled(config, keys, socket or config.socket)
    out.result({"name": config.name, "stopped": True})


@signer.command("status")
@home_option
@socket_option
@reporting
def status(out: Output, home: Path, socket: Path | None) -> None:
    """Ask a running signer for the marks and counts of its keys.

    `silent` says why a key signs nothing, if it does not: the code of what is wrong with its mark, or `not_read` when
    it was made since the signer was started: start that again.
    """
    import trio

    from node.signer_client import ask_standings

    config = load_signer(home.resolve())
    path = socket or config.socket
    standings = trio.run(ask_standings, path)
    if standings[0].public_key != config.public_key:
        raise Rejected("wrong_key", "Another key's signer listens there.", socket=str(path))
    keys = [_standing(each) for each in standings]
    read = {each["public_key"] for each in keys}
    unread = [{"public_key": each, "silent": NOT_READ} for each in _made(config) if each not in read]
    document = {**_document(config), "socket": str(path), "keys": [*keys, *unread]}
    out.result(document, lambda: _show(out, document))


def _document(config: SignerConfig) -> dict[str, Any]:
    return {
        "home": str(config.home),
        "name": config.name,
        "network": config.network,
        "chain_id": config.chain_id.hex(),
        "public_key": config.public_key.hex(),
        "socket": str(config.socket),
    }


def _made(config: SignerConfig) -> list[str]:
    """The later keys of the directory."""
    store = KeyStore(config.home)
    return [store.public(name).public_key.hex() for name in later_keys(store)]


def _standing(standing: Standing) -> dict[str, Any]:
    from node.signer_guard import Kind

    mark = standing.mark
    last = [
        {"kind": kind.name.lower(), "view": each.view, "said": each.said.subject if each.said else None}
        for kind, each in zip(Kind, mark.last, strict=True)
    ]
    counts = {"signed": standing.signed, "repeated": standing.repeated, "refused": standing.refused}
    which = {"public_key": standing.public_key.hex(), "silent": standing.silent}
    return {**which, "epoch": mark.epoch, "lock_view": mark.lock_view, "last": last, **counts}


def _show(out: Output, document: dict[str, Any]) -> None:
    out.pairs("Signer", {name: value for name, value in document.items() if name not in ("keys", "public_key")})
    for key in document["keys"]:
        out.line()
        out.pairs("Key", {name: value for name, value in key.items() if name != "last"})
        if "last" in key:
            rows = [(each["kind"], each["view"], each["said"]) for each in key["last"]]
            out.table("Signed last, of each kind", ("kind", "view", "what"), rows)


def _run_until_signalled(config: SignerConfig, keys: Sequence[SigningKey], path: Path) -> None:
    """Serve in Trio. A failed disk ends it with its message rather than a traceback."""
    import trio

    from node.logs import configure
    from node.signer import SignerServer
    from node.signer_ring import open_ring

    configure("info", sys.stderr)
    log = logging.getLogger("novate.signer")

    def report(kind: str, details: dict[str, int | str]) -> None:
        log.log(logging.INFO if kind in ("welcome", "connection_broke") else logging.WARNING, kind, extra=details)

    async def until_signalled(server: SignerServer) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_at_signal, signals, nursery.cancel_scope, "novate.signer")
                await nursery.start(server.run)
                log.info("started", extra={"validator": config.name, "socket": str(path)})

    try:
        with open_ring(config.chain_id, keys, partial(signer_file, config), report) as ring:
            trio.run(until_signalled, SignerServer(ring, path, report))
    except (BaseExceptionGroup, StorageFailure) as error:
        failure = explained(error)
        if failure is None:
            raise
        raise failure from error
