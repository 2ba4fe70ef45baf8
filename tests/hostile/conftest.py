"""One network for all attacks: three honest validators as processes, the fourth seat in the hands of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.net import Net, network_of
from tests.hostile.traitor import Traitor, traitor_of

HONEST = (0, 1, 2)
BARRING = 2
"""The validator that bars offenders; the others bar nobody, so that attacks need not wait."""

LENIENT = 1
"""The validator whose budget of faults is out of reach: what it does not do and the others do is the defence's work."""


@pytest.fixture(scope="package")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """The network, running."""
    with network_of(tmp_path_factory.mktemp("hostile") / "net", ban_s_max=0) as net:
        net.configure(BARRING, ban_s_max=2)
        net.configure(LENIENT, faults_max=1_000_000)
        net.start(*HONEST)
        yield net


@pytest.fixture(scope="package")
def traitor(net: Net) -> Traitor:
    """The fourth seat."""
    return traitor_of(net, 3)
