"""When to give up a view: one timer, restarted on entering each view.

Rules:

1. A view is entered by the QC or the TC of the view before it, whichever comes first, never backwards.
2. A view lasts ``view_timeout_ms``, times ``view_timeout_growth_ppm`` for every view since the highest QC's that
   brought none, at most ``view_timeout_ms_max``. The first QC brings it back at once.
3. On an idle chain (nothing but empty blocks uncommitted) the leader of a view entered by a QC may wait up to
   ``block_interval_idle_ms`` before it proposes; the view lasts that much longer, so that waiting is never taken for
   silence.

All times are milliseconds of the shell's monotonic clock.
"""

from __future__ import annotations

from genesis.errors import invariant
from genesis.params import ChainParams

_PPM = 1_000_000


class Pacemaker:
    """The current view and its deadline."""

    def __init__(self, params: ChainParams, view: int) -> None:
        self._params = params
        self.view = view
        self.timed_out = False
        self._entered_ms = 0

    def start(self, now_ms: int) -> None:
        """The process runs from here, and so does the timer."""
        self._entered_ms = now_ms

    def enter(self, view: int, now_ms: int) -> None:
        """Rule 1."""
        invariant(view > self.view, "views only rise", view=view, current=self.view)
        self.view = view
        self.timed_out = False
        self._entered_ms = now_ms

    def span_ms(self, certified_view: int, idle: bool) -> int:
        """Rules 2 and 3: how long the current view lasts, given the highest QC's view."""
        span = self._params.view_timeout_ms
        for _ in range(certified_view + 1, self.view):
            span = span * self._params.view_timeout_growth_ppm // _PPM
            if span >= self._params.view_timeout_ms_max:
                span = self._params.view_timeout_ms_max
                break
        return span + (self._params.block_interval_idle_ms if idle else 0)

    def deadline_ms(self, certified_view: int, idle: bool) -> int:
        """When to give up the current view."""
        return self._entered_ms + self.span_ms(certified_view, idle)
