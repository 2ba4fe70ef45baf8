"""Identifiers and units, with the shapes that bound them on the wire.

Units stand last in a name: ``_minor`` (the asset's smallest unit), ``_ticks`` (a price in its declared tick), ``_lots``
(a quantity in its declared lot), ``_unix_ms`` (milliseconds since 1970, block time), ``_ms`` (a span), ``_ppm``
(parts per million).
"""

from __future__ import annotations

from typing import Final, NewType

from genesis.codec import I64_MAX, Shape, integer, raw, text
from genesis.hashing import DIGEST_BYTES
from genesis.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES

MemberId = NewType("MemberId", str)
"""A clearing member, e.g. ``M0``: 1 to 16 characters of A-Z, 0-9 and underscore."""

AccountId = NewType("AccountId", str)
"""A member's sub-account: ``MEMBER/NAME``, e.g. ``M0/main``."""

AssetId = NewType("AssetId", str)
"""An asset, e.g. ``BTC``: 1 to 8 characters of A-Z and 0-9."""

IndexId = NewType("IndexId", str)
"""A price index, e.g. ``BTC_USD``."""

SeriesId = NewType("SeriesId", str)
"""An option series, e.g. ``BTC-17AUG26-63000-P``."""

UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS: Final = "0123456789"
LOWER: Final = "abcdefghijklmnopqrstuvwxyz"

MEMBER_ID: Final[Shape] = text(1, 16, UPPER + DIGITS + "_")
ACCOUNT_ID: Final[Shape] = text(3, 33, UPPER + DIGITS + LOWER + "_/")
ASSET_ID: Final[Shape] = text(1, 8, UPPER + DIGITS)
INDEX_ID: Final[Shape] = text(1, 16, UPPER + DIGITS + "_")
SERIES_ID: Final[Shape] = text(1, 48, UPPER + DIGITS + "-_.")
NAME: Final[Shape] = text(1, 32, UPPER + LOWER + DIGITS + "-_.")

DIGEST: Final[Shape] = raw(DIGEST_BYTES)
PUBLIC_KEY: Final[Shape] = raw(PUBLIC_KEY_BYTES)
SIGNATURE: Final[Shape] = raw(SIGNATURE_BYTES)
UNIX_MS: Final[Shape] = integer(0, 2**48)
AMOUNT_MINOR: Final[Shape] = integer(1, I64_MAX)
QUANTITY_LOTS: Final[Shape] = integer(1, 2**40)
PRICE_TICKS: Final[Shape] = integer(1, 2**40)
PREMIUM_TICKS: Final[Shape] = integer(0, 2**40)
