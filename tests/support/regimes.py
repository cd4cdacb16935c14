# SPDX-License-Identifier: MIT
"""Regimes that switch KSM on when memory is short, and off when it is not.

Each returns (run, pages_to_scan) of the next minute, in which the share FREE of the memory is free.
"""

import math


def ksmtuned(_minute, free, _run, pages, off=0):
    """Every minute, below 20 % (ksmtuned.in of ksmtuned: adjust)."""
    return (1, min(pages + 300, 1250)) if free < 0.2 else (off, max(pages - 50, 64))


def unmerger(minute, free, run, pages):
    """The same, but merging is undone: run=2."""
    return ksmtuned(minute, free, run, pages, off=2)


def kubevirt(minute, free, run, pages):
    """Every 10 minutes, below 20 %; it slows down before it stops (pkg/virt-handler/ksm/ksm.go)."""
    if minute % 10:
        return run, pages
    if free < 0.2:
        return (1, min(pages + 300, 1250)) if run else (1, 100)
    return (1, pages - 50) if run and pages - 50 >= 64 else (0, pages)


REGIMES = [ksmtuned, unmerger, kubevirt]


def played(regime, period, minutes, run=0, pages=100):
    """Yield (run before, run, pages_to_scan) of each of MINUTES, in which free memory swings around 20 % with PERIOD."""
    for minute in range(minutes):
        before, (run, pages) = run, regime(minute, 0.2 + 0.1 * math.sin(2 * math.pi * minute / period), run, pages)
        yield before, run, pages
