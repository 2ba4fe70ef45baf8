"""Tells the operator when the connected validators come to hold a quorum, and when they no longer do.

Without a quorum in reach a node can commit nothing: that is worth a line of the log when it happens, and not only for
whoever asks ``/v1/ready``. The node itself counts; so a lone validator never loses its quorum.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from consensus.types import OBSERVER
from consensus.validators import ValidatorSet
from node.batch_pool import ReportLine


class QuorumWatch:
    """Reports ``quorum_connected`` and ``quorum_lost``, each once until the other follows."""

    def __init__(self, index: int, validators: ValidatorSet, report: ReportLine) -> None:
        self._index = index
        self._validators = validators
        self._report = report
        self._has_quorum = self._power(frozenset()) >= validators.quorum_power

    def connected(self, peers: AbstractSet[int]) -> None:
        """The peers to whom the mesh is connected now."""
        power, needed = self._power(peers), self._validators.quorum_power
        if (power >= needed) == self._has_quorum:
            return
        self._has_quorum = not self._has_quorum
        kind = "quorum_connected" if self._has_quorum else "quorum_lost"
        self._report(kind, {"power": power, "quorum_power": needed})

    def _power(self, peers: AbstractSet[int]) -> int:
        return self._validators.power_of({self._index, *peers} - {OBSERVER})
