"""What experiments share: variants measured by turns, in CPU time, and their medians."""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import Callable, Dict, List

__all__ = ["best_in_turn", "in_turn", "timed"]


def timed(function: Callable[[], object]) -> float:
    """Seconds of CPU that a call takes."""
    gc.collect()
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turn(variants: Dict[str, Callable[[], float]], per: int = 1, rounds: int = 7) -> Dict[str, float]:
    """Call each variant once a round; print the median of what they return, divided by `per`, in microseconds, the
    smallest and largest, and the median as a share of the first variant's; return the medians."""
    seconds: Dict[str, List[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            seconds[name].append(variant() / per * 1e6)
    medians = {name: median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    for name, values in seconds.items():
        spread = "%.2f to %.2f" % (min(values), max(values))
        print("%-40s %9.2f us   %5.2f   (%s)" % (name, medians[name], medians[name] / first, spread))
    return medians


def best_in_turn(
    variants: Dict[str, Callable[[], object]], per: int = 1, rounds: int = 300, collecting: bool = False
) -> Dict[str, float]:
    """Call each variant once a round, with many short rounds; print the best time of each, divided by `per`, in
    microseconds, and as a share of the first variant's; return the best times. collecting: garbage, as it comes.

    For variants of less than a millisecond: then the best ones were not interrupted, whatever else the machine does.
    """
    best = {name: float("inf") for name in variants}
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        for _ in range(rounds):
            for name, variant in variants.items():
                start = time.perf_counter()
                variant()
                best[name] = min(best[name], (time.perf_counter() - start) / per * 1e6)
    finally:
        gc.enable()
    first = next(iter(best.values()))
    for name, microseconds in best.items():
        print("%-40s %9.2f us   %5.2f" % (name, microseconds, microseconds / first))
    return best
