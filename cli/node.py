"""``novate node``: prepare the home of one validator, and run it.

A process that runs a node ends with

* 0 after SIGTERM or SIGINT, everything closed;
* 1 when it refuses to start, when its disk fails, and when what the others certified contradicts what it remembers
  (`ReplicaHalted`): standard error says why and what to do;
* a traceback when we broke a promise of our own (`InvariantViolation`).
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.keys import COSTS, cost_option
from cli.output import Failure, Output, reporting
from cli.passphrase import passphrase_option, resolve_passphrase
from cli.service import cancel_at_signal, explained
from cli.verify import BlockHash, trusted_block
from cli.warm_up import warm_up
from genesis.addresses import join_address, split_address
from genesis.errors import Rejected
from node.config import NodeConfig, load_config
from node.failures import ReplicaHalted, StorageFailure
from node.home import (
    OpenedHome,
    add_consensus_key,
    card_mapping,
    consensus_public_key,
    exclusive,
    index_of,
    install_genesis,
    load_genesis,
    open_home,
    prepare_home,
    read_card,
    read_document,
)
from node.named_peers import name_peer

if TYPE_CHECKING:
    from genesis.document import GenesisDocument
    from node.trust import TrustedBlock


_LISTEN_ERRNOS: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, socket.EAI_NONAME})


class Address(click.ParamType[str]):
    """``host:port``; another value is wrong usage."""

    name = "host:port"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given."""
        try:
            split_address(value)
        except Rejected as error:
            self.fail(f"{value!r}: {error.message}", param, ctx)
        return value


home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="NOVATE_NODE_HOME",
    help="The validator's directory.",
)


@click.group()
def node() -> None:
    """Prepare and run one validator."""


@node.command("init")
@home_option
@click.option("--name", help="The validator's name; needed the first time.")
@click.option(
    "--address", type=Address(), help="host:port where peers dial this validator. [default: the listen address]"
)
@click.option("--listen", type=Address(), help="host:port where it listens for peers. [default: 127.0.0.1:26600]")
@click.option("--http", type=Address(), help="host:port where it listens for clients. [default: 127.0.0.1:8600]")
@click.option("--power", type=int, default=1, show_default=True, help="The voting power that its card proposes.")
@click.option(
    "--genesis",
    "genesis_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The genesis document; give it when it exists, in the same call or a later one.",
)
@click.option("--join", "joins", is_flag=True, help="The chain runs already, and governance is to add this validator.")
@click.option(
    "--trust-height", type=click.IntRange(1), help="A block that you trust: join by a snapshot from there on."
)
@click.option("--trust-hash", type=BlockHash(), help="That block's hash, from somebody whom you trust.")
@click.option(
    "--peer",
    "peer_files",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A validator's card (validator.toml) to join by: who validates now. May be repeated.",
)
@click.option("--snapshot-interval", type=click.IntRange(0), help="Blocks between two snapshots; 0 for none.")
@click.option("--keep-blocks", type=click.IntRange(0), help="Blocks to keep at least; 0 keeps all.")
@passphrase_option
@cost_option
@reporting
def init(
    out: Output,
    home: Path,
    name: str | None,
    address: str | None,
    listen: str | None,
    http: str | None,
    power: int,
    genesis_file: Path | None,
    joins: bool,
    trust_height: int | None,
    trust_hash: bytes | None,
    peer_files: Sequence[Path],
    snapshot_interval: int | None,
    keep_blocks: int | None,
    passphrase_file: Path | None,
    cost: str,
) -> None:
    """Make the keys and settings of a validator's home.

    With --genesis it joins that chain. Without it writes HOME/validator.toml, which `novate genesis create --validator`
    takes. May be repeated: keys are kept, and options that are given again replace the settings.
    """
    trusted = trusted_block(trust_height, trust_hash)
    cards = [read_card(each) for each in peer_files]
    config = _config(home, name, listen, http, trusted)
    if snapshot_interval is not None:
        config = replace(config, snapshot_interval=snapshot_interval)
    if keep_blocks is not None:
        config = replace(config, keep_blocks=keep_blocks)
    is_new = not (home / "keys").exists()
    secret = resolve_passphrase(home, passphrase_file, confirm=is_new)
    dialled = address or _known_address(config) or config.to_mapping()["peers"]["listen"]
    card = prepare_home(config, dialled, secret, power=power, cost=COSTS[cost])
    for each in cards:
        name_peer(config, each)
    document, index = _chain(config, genesis_file, joins)
    result = {
        "home": str(home),
        **card_mapping(card),
        "card": str(config.card_path),
        "http": config.http_url,
        "chain_id": document.chain_id.hex() if document else None,
        "index": index,
        "amnesiac": document is not None and not config.safety_path.exists(),
    }
    out.result(result, lambda: _show_home(out, result))


@node.command("new-key")
@home_option
@passphrase_option
@cost_option
@reporting
def new_key(out: Output, home: Path, passphrase_file: Path | None, cost: str) -> None:
    """Make a consensus key to replace the present one.

    Start the node again, then propose the change with `novate gov propose validator.rotate_key`: the node signs with
    the new key from the epoch on whose validator set names it.
    """
    config = load_config(home)
    public_key = add_consensus_key(config, resolve_passphrase(home, passphrase_file), COSTS[cost])
    result = {"home": str(home), "name": config.name, "public_key": public_key.hex()}
    out.result(result, lambda: out.pairs("New consensus key", result))


@node.command("run")
@home_option
@passphrase_option
@reporting
def run(out: Output, home: Path, passphrase_file: Path | None) -> None:
    """Run the validator of a home until SIGTERM or SIGINT. Logs are JSON lines on standard error."""
    config = load_config(home)
    with exclusive(config):
        opened = open_home(home, resolve_passphrase(home, passphrase_file))
        _run_until_signalled(opened)
    out.result({"name": config.name, "stopped": True})


def _chain(config: NodeConfig, genesis_file: Path | None, joins: bool) -> tuple[GenesisDocument | None, int | None]:
    """The chain that the home has from now on, and the validator's index in it; None before it has one."""
    if genesis_file is not None:
        document = read_document(genesis_file)
        return document, install_genesis(config, document, joins=joins)
    if not config.genesis_path.exists():
        return None, None
    document = load_genesis(config)
    return document, index_of(document, config.name, consensus_public_key(config))


def _show_home(out: Output, result: dict[str, Any]) -> None:
    out.pairs("Validator", result)
    if result["amnesiac"]:
        out.line("Its key has run before and its safety state is gone: it will sign nothing until a quorum of the")
        out.line("others has told it from which view on it may (with fewer than four equal validators: never).")


def _config(
    home: Path, name: str | None, listen: str | None, http: str | None, trusted: TrustedBlock | None
) -> NodeConfig:
    """The settings of an existing home or the defaults, with what the options change."""
    try:
        known = load_config(home)
    except Rejected as error:
        if error.code != "no_node_home":
            raise
        if name is None:
            raise click.UsageError("A new home needs --name.") from error
        known = NodeConfig(home=home, name=name)
    listen_host, listen_port = split_address(listen) if listen else (known.listen_host, known.listen_port)
    http_host, http_port = split_address(http) if http else (known.http_host, known.http_port)
    if trusted is not None:
        known = replace(known, trust_height=trusted.height, trust_hash=trusted.block_hash.hex())
    return replace(
        known,
        name=name or known.name,
        listen_host=listen_host,
        listen_port=listen_port,
        http_host=http_host,
        http_port=http_port,
    )


def _known_address(config: NodeConfig) -> str | None:
    try:
        return read_card(config.card_path).address
    except FileNotFoundError:
        return None


def _run_until_signalled(opened: OpenedHome) -> None:
    """Run the node in Trio. Wrong kernels, a failed disk or a halt end it with a message rather than a traceback."""
    import trio

    from node.app import run_node
    from node.files import make_private_directory
    from node.logs import configure

    configure(opened.config.log_level, sys.stderr)
    make_private_directory(opened.config.data_path)

    async def until_signalled() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_at_signal, signals, nursery.cancel_scope, "novate.node")
                await run_node(opened)
                nursery.cancel_scope.cancel()

    def tell(_: object) -> Callable[[], None]:
        logging.getLogger("novate.node").info("compiling_kernels", extra={"about_s": 60})
        return lambda: None

    warm_up(tell)
    try:
        trio.run(until_signalled)
    except (BaseExceptionGroup, StorageFailure, ReplicaHalted, OSError) as error:
        failure = _unable_to_listen(opened.config) if _is_about_addresses(error) else explained(error)
        if failure is None:
            raise
        raise failure from error


def _is_about_addresses(error: BaseException) -> bool:
    """Whether `error` holds nothing but one refusal by the system to let us listen; it does not say where."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_about_addresses(each) for each in error.exceptions)
    return isinstance(error, OSError) and error.errno in _LISTEN_ERRNOS


def _unable_to_listen(config: NodeConfig) -> Failure:
    """The failure that names the address at which we cannot listen, found by trying each of ours."""
    failed = []
    for what, host, port in (
        ("peers", config.listen_host, config.listen_port),
        ("clients", config.http_host, config.http_port),
    ):
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            socket.create_server(address, family=family).close()
        except OSError as error:
            failed.append(f"{join_address(host, port)} for {what} ({error.strerror or error})")
    where = " and at ".join(failed) or "one of its addresses; it is free again now"
    return Failure(f"{config.name} cannot listen at {where}.", code="cannot_listen")
