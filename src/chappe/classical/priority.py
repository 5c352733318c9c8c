"""Keeping a library from making the whole process real-time.

SVT-AV1, run by root on Linux, puts the calling thread and all its own under SCHED_FIFO at priority 99 and leaves them
there: everything else on the machine then waits, and every time measured afterwards is flattered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["same_scheduling"]


@contextmanager
def same_scheduling() -> Iterator[None]:
    """Give every thread back the scheduling it had before the block; new threads get the caller's. Linux only."""
    if not (hasattr(os, "sched_setscheduler") and os.path.isdir("/proc/self/task")):
        yield
        return
    own = (os.sched_getscheduler(0), os.sched_getparam(0))
    before = {}
    for thread in _threads():
        with suppress(OSError):
            before[thread] = (os.sched_getscheduler(thread), os.sched_getparam(thread))
    try:
        yield
    finally:
        for thread in _threads():
            policy, param = before.get(thread, own)
            with suppress(OSError):  # it has ended, or is not ours to change
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, param)


def _threads() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/task")]
