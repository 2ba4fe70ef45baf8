"""The peers that an operator names for joining by snapshot: where the genesis document's validators are no longer.

Rules:

1. A named peer is a validator's card (``validator.toml``), kept in ``HOME/peers``. It says where to dial and which
   certificate to expect there, and no more than that: nothing that such a peer says is believed. An offer is verified
   from the trusted block on, a piece against the certified root. So a false card costs time, and never the truth.
2. A card with the name or the certificate of one of the genesis document's validators takes its place; the others come
   after those.
3. Where peers are named, theirs is the power that counts when offers are compared, or when nobody has one
   (`node.snapshot_join`): the genesis document's validators may be long gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import tomli_w

from genesis.document import VALIDATORS_MAX, GenesisValidator
from genesis.errors import Rejected
from node.config import NodeConfig
from node.files import make_private_directory, write_private
from node.home import card_mapping, read_card


def name_peer(config: NodeConfig, card: GenesisValidator) -> None:
    """Keep a card in the home, in place of one of the same name."""
    make_private_directory(config.peers_path)
    write_private(config.peers_path / f"{card.name}.toml", tomli_w.dumps(card_mapping(card)).encode())


def named_peers(config: NodeConfig) -> list[GenesisValidator]:
    """The cards in the home, by name.

    Raises:
        Rejected: ``bad_card``; ``limit_reached``.
    """
    if not config.peers_path.is_dir():
        return []
    files = sorted(each for each in config.peers_path.iterdir() if each.suffix == ".toml")
    if len(files) > VALIDATORS_MAX:
        raise Rejected("limit_reached", "More peers are named than a chain has validators.", peers=len(files))
    return [read_card(each) for each in files]


def with_named(validators: Sequence[GenesisValidator], named: Sequence[GenesisValidator]) -> list[GenesisValidator]:
    """The validators to dial (rule 2)."""
    members = list(validators)
    for card in named:
        same = [
            place
            for place, each in enumerate(members)
            if each.name == card.name or each.certificate == card.certificate
        ]
        if same:
            members[same[0]] = card
        else:
            members.append(card)
    return members
