"""``novate signer``: a validator's key in a process of its own, behind a local socket.

A process that runs a signer ends with 0 after SIGTERM or SIGINT, and with 1 when it refuses to start or its disk fails:
standard error says why and what to do.
"""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import Output, reporting
from cli.passphrase import passphrase_option, resolve_passphrase
from cli.service import cancel_at_signal, explained
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.failures import StorageFailure
from node.signer_home import SignerConfig, default_socket, hand_over, load_signer, opened, signer_file

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
    validator runs without the key and asks the signer. Repeat the command if it was interrupted.
    """
    made = hand_over(node_home, home.resolve(), socket or default_socket(home))
    document = _document(made)
    out.result(document, lambda: out.pairs("Signer", document))


@signer.command("run")
@home_option
@socket_option
@passphrase_option
@reporting
def run(out: Output, home: Path, socket: Path | None, passphrase_file: Path | None) -> None:
    """Run a signer until SIGTERM or SIGINT. Logs are JSON lines on standard error."""
    config = load_signer(home.resolve())
    with opened(config, resolve_passphrase(home, passphrase_file)) as key:
        _run_until_signalled(config, key, socket or config.socket)
    out.result({"name": config.name, "stopped": True})


@signer.command("status")
@home_option
@socket_option
@reporting
def status(out: Output, home: Path, socket: Path | None) -> None:
    """Ask a running signer for its mark and its counts."""
    import trio

    from node.signer_client import ask_standing

    config = load_signer(home.resolve())
    path = socket or config.socket
    standing = trio.run(ask_standing, path)
    if standing.public_key != config.public_key:
        raise Rejected("wrong_key", "Another key's signer listens there.", socket=str(path))
    document = {**_document(config), "socket": str(path), **_standing(standing)}
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


def _standing(standing: Standing) -> dict[str, Any]:
    from node.signer_guard import Kind

    mark = standing.mark
    last = [
        {"kind": kind.name.lower(), "view": each.view, "said": each.said.subject if each.said else None}
        for kind, each in zip(Kind, mark.last, strict=True)
    ]
    counts = {"signed": standing.signed, "repeated": standing.repeated, "refused": standing.refused}
    return {"epoch": mark.epoch, "lock_view": mark.lock_view, "last": last, **counts}


def _show(out: Output, document: dict[str, Any]) -> None:
    out.pairs("Signer", {name: value for name, value in document.items() if name != "last"})
    out.line()
    rows = [(each["kind"], each["view"], each["said"]) for each in document["last"]]
    out.table("Signed last, of each kind", ("kind", "view", "what"), rows)


def _run_until_signalled(config: SignerConfig, key: SigningKey, path: Path) -> None:
    """Serve in Trio. A failed disk ends it with its message rather than a traceback."""
    import trio

    from node.logs import configure
    from node.signer import Signer, SignerServer

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
        with closing(signer_file(config)) as file:
            trio.run(until_signalled, SignerServer(Signer(key, config.chain_id, file), path, report))
    except (BaseExceptionGroup, StorageFailure) as error:
        failure = explained(error)
        if failure is None:
            raise
        raise failure from error
