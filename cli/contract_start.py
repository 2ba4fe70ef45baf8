"""The parameters of ``tx send contract.start`` as people write them: by name, each in a unit that it states.

``parameters=pays_above=true,lots=1,lot=0.00000002:BTC,strike=60000.5:BTC_USD,expiry=2026-12-25T08:00Z``

Rules:

1. A value without a unit is what it is everywhere (`cli.contract_values`): a price's ticks, money's minor units.
2. ``AMOUNT:INDEX`` is a price in units of one of the feeds, ``AMOUNT:ASSET`` money in units of the asset that stands
   for the parameter's. It is converted exactly, or refused.
3. What a validator says of the program counts for nothing: its bytes are read, and their digest is the id. How many
   decimals an index or an asset has is the validator's word; the numbers that are signed are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from cli.client import Client
from contracts.operations import build_operation
from contracts.vm.bytecode import Kind, Program, decode_program
from genesis.errors import Rejected

KIND: Final = "contract.start"
_AMOUNT: Final = re.compile(r"(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?")
_DECIMALS_MAX: Final = 18


def is_named(kind: str, fields: Mapping[str, str]) -> bool:
    """Whether the parameters are given by name."""
    return kind == KIND and "=" in fields.get("parameters", "")


def with_integers(client: Client, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields with the parameters as the chain takes them.

    Raises:
        Rejected: ``not_whole_units`` for an amount that is no whole number of ticks or minor units, ``unknown_unit``;
            ``unknown_program``, ``unknown_index``; ``bad_answer``; what is wrong with the other fields.
        click.UsageError: As `parameter_values`.
    """
    from cli.contract_values import parameter_values  # the language and its checker: nothing that another kind needs

    # The other fields as they are sent, so that what is asked for with them has their form.
    _, _, program_id, accounts, assets, feeds, _ = build_operation(KIND, {**fields, "parameters": ""})
    program = _program(client, bytes(program_id))
    units = _Units(client, program, tuple(accounts), tuple(assets), tuple(feeds))
    pairs = [units.converted(pair) for pair in fields["parameters"].split(",")]
    return {**fields, "parameters": ",".join(map(str, parameter_values(program, pairs)))}


def exact(amount: str, decimals: int) -> int | None:
    """The amount in units of ``10**-decimals``; None where it is no whole number of them, or no amount."""
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        return None
    sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    if len(fraction) > decimals:
        return None
    return int(f"{sign}{whole}{fraction.ljust(decimals, '0')}")


def _program(client: Client, program_id: bytes) -> Program:
    """The stored program, from bytes that have this id."""
    answer = client.get(f"/v1/programs/{program_id.hex()}")
    try:
        program = decode_program(bytes.fromhex(answer["bytecode"]))
    except (ValueError, TypeError, KeyError) as error:
        raise Rejected("bad_answer", "A validator's program is none.", program=program_id.hex()) from error
    if program.program_id != program_id:
        raise Rejected("bad_answer", "A validator shows another program.", program=program_id.hex())
    return program


class _Units:
    """What stands for the program's assets and feeds, and how many decimals each has."""

    def __init__(
        self, client: Client, program: Program, accounts: Sequence[str], assets: Sequence[str], feeds: Sequence[str]
    ) -> None:
        self._client = client
        self._types = {each.name: each.type for each in program.parameters}
        self._accounts, self._assets, self._feeds = accounts, assets, feeds

    def converted(self, pair: str) -> str:
        """``NAME=VALUE`` with the integer in place of an amount that states its unit."""
        name, _, text = pair.partition("=")
        amount, colon, unit = text.partition(":")
        of = self._types.get(name)
        if not colon or of is None or of.kind not in (Kind.PRICE, Kind.MONEY):
            return pair
        units = self._feeds if of.kind is Kind.PRICE else self._assets[of.asset : of.asset + 1]
        if unit not in units:
            message = f"{name} is in units of {' or '.join(units) or 'nothing that is bound'}."
            raise Rejected("unknown_unit", message, found=unit[:64])
        decimals = self._tick_decimals(unit) if of.kind is Kind.PRICE else self._asset_decimals(unit)
        value = exact(amount, decimals)
        if value is None:
            message = f"{name} is no whole number of units of 10^-{decimals} {unit}."
            raise Rejected("not_whole_units", message, found=amount[:64])
        return f"{name}={value}"

    def _tick_decimals(self, index: str) -> int:
        return _decimals(self._client.get(f"/v1/index/{quote(index, safe='')}").get("tick_decimals"), index)

    def _asset_decimals(self, asset: str) -> int:
        """From the balances of the accounts that are bound: one of them has the asset, or there is nothing to lock."""
        for account in self._accounts:
            balances: Mapping[str, Any] = self._client.get(f"/v1/accounts/{account}")["balances"]
            if asset in balances:
                return _decimals(balances[asset].get("decimals"), asset)
        message = f"No account of this contract has {asset}, so nobody says what its unit is; give minor units."
        raise Rejected("unknown_unit", message, accounts=", ".join(self._accounts))


def _decimals(found: object, of: str) -> int:
    if not isinstance(found, int) or not 0 <= found <= _DECIMALS_MAX:
        raise Rejected("bad_answer", f"A validator's decimals of {of} are none.", found=str(found)[:64])
    return found
