"""The genesis document: what people write reads back, a bad field is named, and any change makes another chain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from genesis.document import ChainClock, GenesisDocument, GenesisRole, GenesisValidator, parse_document
from genesis.errors import Rejected
from genesis.params import ChainParams
from genesis.signing import SigningKey

Mapping = dict[str, Any]


def _key(number: int) -> bytes:
    return SigningKey(bytes([number]) * 32).public_key


DOCUMENT = GenesisDocument(
    name="desk",
    validators=tuple(
        GenesisValidator(f"v{n}", _key(n), n + 1, f"127.0.0.1:{9_000 + n}", b"certificate %d" % n) for n in range(4)
    ),
    roles=(
        GenesisRole("governor", _key(10), ("governor",)),
        GenesisRole("oracle0", _key(11), ("oracle", "issuer")),
    ),
    clock=ChainClock(1_000, 1_786_953_600_000, 600),
    params=ChainParams(view_timeout_ms=750),
)


def _written(change: Callable[[Mapping], object] = lambda _: None) -> str:
    mapping = copy.deepcopy(DOCUMENT.to_mapping())
    change(mapping)
    return tomli_w.dumps(mapping)


def test_a_written_document_reads_back_as_the_same_chain() -> None:
    """Validators exchange the file; each must compute the same chain id from it."""
    found = parse_document(_written())
    assert found == DOCUMENT
    assert found.chain_id == DOCUMENT.chain_id


def test_comments_and_the_order_of_keys_do_not_matter() -> None:
    """People edit the file; only its values define the chain."""
    mapping = dict(reversed(DOCUMENT.to_mapping().items()))
    assert parse_document("# a remark\n" + tomli_w.dumps(mapping)).chain_id == DOCUMENT.chain_id


def test_clock_and_parameters_have_defaults() -> None:
    """A chain of today need not say that its clock is the wall's."""

    def bare(mapping: Mapping) -> None:
        del mapping["clock"], mapping["params"]

    found = parse_document(_written(bare))
    assert found.clock == ChainClock(0, 0, 1)
    assert found.params == found.limits == ChainParams()


def test_limits_are_scaled_to_the_clock() -> None:
    """The code enforces `limits`; on a fast clock a lifetime in block time must still be usable at the desk."""
    assert DOCUMENT.limits == DOCUMENT.params.scaled(600)


def _set(*path: Any) -> Callable[[Mapping], None]:
    *steps, last, value = path

    def change(mapping: Mapping) -> None:
        target: Any = mapping
        for step in steps:
            target = target[step]
        target[last] = value

    return change


def _without(*path: Any) -> Callable[[Mapping], None]:
    def change(mapping: Mapping) -> None:
        target: Any = mapping
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return change


V0 = ("validators", 0)
R0 = ("roles", 0)

BAD_FIELDS: tuple[tuple[str, Callable[[Mapping], None], str], ...] = (
    ("no version", _without("version"), "version"),
    ("a later version", _set("version", 2), "version"),
    ("version as text", _set("version", "1"), "version"),
    ("an unknown field", _set("colour", "red"), "colour"),
    ("no name", _without("name"), "name"),
    ("an empty name", _set("name", ""), "name"),
    ("a name with a space", _set("name", "my chain"), "name"),
    ("a name too long", _set("name", "n" * 33), "name"),
    ("a name that is a number", _set("name", 7), "name"),
    ("an unknown engine", _set("consensus", "raft"), "consensus"),
    ("the clock no table", _set("clock", 1), "clock"),
    ("an unknown field of the clock", _set("clock", "zone", 1), "zone"),
    ("speed zero", _set("clock", "speed", 0), "speed"),
    ("speed over its limit", _set("clock", "speed", 100_001), "speed"),
    ("speed a float", _set("clock", "speed", 1.5), "speed"),
    ("speed a boolean", _set("clock", "speed", True), "speed"),
    ("an origin before 1970", _set("clock", "wall_origin_unix_ms", -1), "wall_origin_unix_ms"),
    ("an origin beyond time", _set("clock", "chain_origin_unix_ms", 2**48), "chain_origin_unix_ms"),
    ("no validators", _set("validators", []), "validators"),
    ("validators no array", _set("validators", "v0"), "validators"),
    ("a validator no table", _set(*V0, 7), "validators"),
    ("an unknown field of a validator", _set(*V0, "weight", 1), "weight"),
    ("a validator without a name", _without(*V0, "name"), "name"),
    ("a validator with a bad name", _set(*V0, "name", "v 0"), "name"),
    ("two validators of one name", _set(*V0, "name", "v1"), "validator names"),
    ("a validator without a key", _without(*V0, "public_key"), "public_key"),
    ("a short key", _set(*V0, "public_key", "00" * 31), "32-byte public_key"),
    ("a key not in hexadecimal", _set(*V0, "public_key", "zz" * 32), "public_key"),
    ("two validators of one key", _set(*V0, "public_key", _key(1).hex()), "validator keys"),
    ("no power", _without(*V0, "power"), "power"),
    ("power zero", _set(*V0, "power", 0), "power"),
    ("power negative", _set(*V0, "power", -1), "power"),
    ("power over its limit", _set(*V0, "power", 2**32 + 1), "power"),
    ("power a boolean", _set(*V0, "power", True), "power"),
    ("power a float", _set(*V0, "power", 1.0), "power"),
    ("no address", _without(*V0, "address"), "address"),
    ("an address without a port", _set(*V0, "address", "localhost"), "address"),
    ("an address without a host", _set(*V0, "address", ":9000"), "address"),
    ("an address with port 0", _set(*V0, "address", "localhost:0"), "address"),
    ("an address with port 65536", _set(*V0, "address", "localhost:65536"), "address"),
    ("an address with a port in words", _set(*V0, "address", "localhost:http"), "address"),
    ("an address with a superscript port", _set(*V0, "address", "localhost:\u00b2"), "address"),
    ("no certificate", _without(*V0, "certificate"), "certificate"),
    ("an empty certificate", _set(*V0, "certificate", ""), "certificate"),
    ("a certificate not in base64", _set(*V0, "certificate", "a"), "certificate"),
    ("a certificate outside ASCII", _set(*V0, "certificate", "\u00e9"), "certificate"),
    ("a certificate too long", _set(*V0, "certificate", "AAAA" * 342), "certificate"),
    (
        "two validators of one certificate",
        _set(*V0, "certificate", DOCUMENT.to_mapping()["validators"][1]["certificate"]),
        "certificates",
    ),
    ("roles no array", _set("roles", 1), "roles"),
    ("an unknown field of a role", _set(*R0, "power", 1), "power"),
    ("a role without a name", _without(*R0, "name"), "name"),
    ("a role with a bad name", _set(*R0, "name", "the/governor"), "name"),
    ("two roles of one name", _set(*R0, "name", "oracle0"), "role names"),
    ("a role with a short key", _set(*R0, "public_key", "00"), "public_key"),
    ("two roles of one key", _set(*R0, "public_key", _key(11).hex()), "role keys"),
    ("an unknown role", _set(*R0, "roles", ["emperor"]), "roles"),
    ("an entry of no role", _set(*R0, "roles", []), "roles"),
    ("a role twice in one entry", _set(*R0, "roles", ["governor", "governor"]), "once"),
    ("a role that is a number", _set(*R0, "roles", [1]), "roles"),
    ("params no table", _set("params", []), "params"),
    ("an unknown parameter", _set("params", "block_size", 1), "block_size"),
    ("a parameter zero", _set("params", "batch_age_ms", 0), "batch_age_ms"),
    ("a parameter a float", _set("params", "batch_age_ms", 1.5), "batch_age_ms"),
    ("a parameter over what the protocol carries", _set("params", "batch_envelopes_max", 4_097), "batch_envelopes_max"),
    ("a span that overflows when scaled", _set("params", "settlement_delay_ms", 2**47), "settlement_delay_ms"),
)


@pytest.mark.parametrize(("fault", "change", "named"), BAD_FIELDS, ids=[row[0] for row in BAD_FIELDS])
def test_a_bad_field_is_rejected_and_named(fault: str, change: Callable[[Mapping], None], named: str) -> None:
    """A wrong genesis found at the first start costs a minute; found at the first block it costs a chain."""
    with pytest.raises(Rejected) as caught:
        parse_document(_written(change))
    assert caught.value.code in ("bad_genesis", "bad_parameter"), fault
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ["= 1", "version = ", "[[validators]", "version = 1\nversion = 1"])
def test_text_that_is_not_toml_is_rejected(text: str) -> None:
    """A typing error in the file is the author's, and is answered as such."""
    with pytest.raises(Rejected, match="not TOML"):
        parse_document(text)


def test_an_oversized_file_is_rejected_before_it_is_parsed() -> None:
    """Every file from outside has a size bound."""
    with pytest.raises(Rejected, match="1 MiB"):
        parse_document("#" * (2**20 + 1))


CHANGES: tuple[tuple[Any, ...], ...] = (
    ("name", "desk2"),
    ("clock", "wall_origin_unix_ms", 1_001),
    ("clock", "chain_origin_unix_ms", 1),
    ("clock", "speed", 601),
    (*V0, "name", "v9"),
    (*V0, "public_key", _key(9).hex()),
    (*V0, "power", 9),
    (*V0, "address", "127.0.0.1:9009"),
    (*V0, "certificate", "AAAA"),
    (*R0, "name", "chair"),
    (*R0, "public_key", _key(9).hex()),
    (*R0, "roles", ["governor", "issuer"]),
    *(("params", each.name, getattr(DOCUMENT.params, each.name) + 1) for each in fields(ChainParams)),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: ".".join(map(str, change[:-1])))
def test_any_change_of_a_value_makes_another_chain(change: tuple[Any, ...]) -> None:
    """Two validators that start from different values must not believe that they share a chain."""
    assert parse_document(_written(_set(*change))).chain_id != DOCUMENT.chain_id


def test_the_engine_is_part_of_the_chain() -> None:
    """Validators that run different engines can never agree, so they must not even be on one chain."""
    other = replace(DOCUMENT, consensus="pbft")
    assert other.chain_id != DOCUMENT.chain_id
    assert parse_document(_written(_set("consensus", "pbft"))) == other


def test_a_document_without_an_engine_means_hotstuff() -> None:
    """Whoever writes the file need not know that there is a choice."""
    assert parse_document(_written(_without("consensus"))) == replace(DOCUMENT, consensus="hotstuff")


@pytest.mark.parametrize("which", ["validators", "roles"])
def test_the_order_of_validators_and_roles_is_part_of_the_chain(which: str) -> None:
    """A validator's index is its place in the list."""

    def reverse(mapping: Mapping) -> None:
        mapping[which].reverse()

    assert parse_document(_written(reverse)).chain_id != DOCUMENT.chain_id


@given(st.integers(0, 2**47), st.integers(0, 2**47))
def test_the_clock_never_goes_back(one_unix_ms: int, other_unix_ms: int) -> None:
    """Block time is mapped from the wall by every validator alike, and must be monotonic."""
    earlier, later = sorted((one_unix_ms, other_unix_ms))
    clock = ChainClock(10_000, 5, 7)
    assert clock.chain_unix_ms(earlier) <= clock.chain_unix_ms(later)


def test_the_clock_stands_still_before_its_origin() -> None:
    """A replay testnet starts its era when the nodes are ready, not while they are being started."""
    clock = ChainClock(wall_origin_unix_ms=10_000, chain_origin_unix_ms=500, speed=7)
    assert [clock.chain_unix_ms(wall) for wall in (0, 10_000, 10_001, 10_100)] == [500, 500, 507, 1_200]
