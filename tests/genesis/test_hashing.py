"""Hash domains: a digest of one kind of thing never stands for another."""

from __future__ import annotations

from hashlib import blake2b
from itertools import combinations

import pytest

from genesis.hashing import DIGEST_BYTES, Domain, digest


def test_domains_are_distinct_and_fit_the_personalisation() -> None:
    """Two kinds that shared a domain could be passed off for each other; a longer name would be refused by BLAKE2b."""
    names = [domain.value for domain in Domain.__members__.values()]
    assert len(set(names)) == len(names) == len(Domain.__members__)
    assert all(0 < len(name) <= blake2b.PERSON_SIZE for name in names)


def test_no_domain_is_a_zero_padded_form_of_another() -> None:
    """BLAKE2b pads the personalisation with zero bytes, so such a pair would be one domain."""
    padded = [domain.value.ljust(blake2b.PERSON_SIZE, b"\0") for domain in Domain]
    assert len(set(padded)) == len(padded)


@pytest.mark.parametrize(("one", "other"), list(combinations(Domain, 2)))
def test_one_message_has_another_digest_in_every_domain(one: Domain, other: Domain) -> None:
    """The domain must reach the hash, not only the call."""
    assert digest(one, b"message") != digest(other, b"message")


def test_digest_is_personalised_blake2b() -> None:
    """Other implementations must be able to compute it: BLAKE2b-256, no key, the domain as personalisation."""
    expected = blake2b(b"abc", digest_size=DIGEST_BYTES, person=b"novate/block/1").digest()
    assert digest(Domain.BLOCK, b"abc") == expected
    assert digest(Domain.BLOCK, b"abc").hex() == "08b6a989f17f12cac3d5767ee9418a28cffa4a61bc107159725d01b1e80f0f13"
