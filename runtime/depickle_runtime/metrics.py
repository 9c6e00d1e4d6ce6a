# SPDX-License-Identifier: Apache-2.0
"""Where the runtime reports counts and durations; the default sink drops them and costs one call.

Implement `Metrics` to connect Prometheus, StatsD or a log. Nothing here does I/O.
"""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["NO_METRICS", "Metrics", "NoMetrics"]


class Metrics(Protocol):
    """A sink for what the runtime counts; implementations must be thread-safe and must not raise."""

    def count(self, name: str, value: int = 1) -> None:
        """Add `value` to the counter `name`, e.g. ``session.opened`` or ``session.refused_rows``."""

    def observe(self, name: str, seconds: float) -> None:
        """Record one duration under `name`, e.g. ``session.open``."""


class NoMetrics:
    """Drops everything."""

    def count(self, name: str, value: int = 1) -> None:
        """Drop a count."""

    def observe(self, name: str, seconds: float) -> None:
        """Drop a duration."""


NO_METRICS: Final[Metrics] = NoMetrics()
