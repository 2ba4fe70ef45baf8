"""Which worker of pytest-xdist takes which file: networks of real processes apart, what takes long first.

Networks wait most of the time, for one another and for what tests send; whatever else is tested keeps a core busy. So
one worker more than there are cores leaves none idle, as long as no more than one of them runs a network: several at
once would disturb each other's timing. A file stays whole, since its tests share a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

ROOT: Final = Path(__file__).parents[1]
MARK: Final = "pytest.mark.process"
LONGEST: Final = ("tests/defences/", "tests/mutants/", "tests/simulator/", "tests/consensus/", "tests/node/")
"""What begins first, so that no long file is left for the end; the rest follows in the order of xdist."""


class NetworksApart(LoadFileScheduling):
    """The first worker takes the files that start processes, and others only when nothing else is left."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        self._are_networks: dict[str, bool] = {}

    def _is_network(self, file: str) -> bool:
        if file not in self._are_networks:
            self._are_networks[file] = MARK in (ROOT / file).read_text(encoding="utf-8")
        return self._are_networks[file]

    def _assign_work_unit(self, node: WorkerController) -> None:
        """The file at the head of the queue is what the base class hands out: put the best one there."""
        is_first = node is self.nodes[0]

        def order(file: str) -> tuple[bool, int]:
            rank = next((rank for rank, each in enumerate(LONGEST) if file.startswith(each)), len(LONGEST))
            return self._is_network(file) != is_first, rank

        self.workqueue.move_to_end(min(self.workqueue, key=order), last=False)
        super()._assign_work_unit(node)
