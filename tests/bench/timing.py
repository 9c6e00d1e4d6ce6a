# SPDX-License-Identifier: Apache-2.0
"""Times calls and prints tables of them; medians of many short batches, since a mean would time the neighbours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

__all__ = ["paired_seconds", "print_table", "seconds_per_call"]

_BATCHES = 15


def seconds_per_call(function: Callable[[], object], *, budget: float = 0.6) -> float:
    """Median over batches of the time of one call; they take about `budget` seconds, or one call."""
    started = time.perf_counter()
    function()  # first calls allocate
    first = time.perf_counter() - started
    if first > budget:
        return first
    started = time.perf_counter()
    function()
    once = max(time.perf_counter() - started, 1e-7)
    calls = max(1, int(budget / _BATCHES / once))
    batches = max(3, min(_BATCHES, int(budget / (calls * once)) or 1))
    times = []
    for _ in range(batches):
        started = time.perf_counter()
        for _ in range(calls):
            function()
        times.append((time.perf_counter() - started) / calls)
    return statistics.median(times)


def paired_seconds(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 25, budget: float = 0.03
) -> tuple[float, float, float]:
    """Seconds a call of each, and the ratio: medians over rounds in which the two take turns.

    A machine that slows down slows both sides of a round, so the median of the ratios holds where seconds do not.
    """
    calls = []
    for function in (ours, theirs):
        function()  # first calls allocate
        started = time.perf_counter()
        function()
        calls.append(max(1, int(budget / max(time.perf_counter() - started, 1e-7))))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, function in enumerate((ours, theirs)):
            started = time.perf_counter()
            for _ in range(calls[side]):
                function()
            times[side].append((time.perf_counter() - started) / calls[side])
    ratios = [one / other for one, other in zip(*times, strict=True)]
    return statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with the first column to the left and all others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    print(f"\n{title}\n")
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells))
