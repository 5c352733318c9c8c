"""What an encoder does beside something else: in a second thread, where the caller may use more than one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["allowed_threads", "beside", "start"]


def allowed_threads() -> int:
    """Threads that this process may keep busy: $OMP_NUM_THREADS, else all its cores; no more than torch was told.

    An $OMP_NUM_THREADS that is no number counts for nothing here: who opens a network refuses it.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    text = os.environ.get("OMP_NUM_THREADS", "")
    if text.isdigit():
        limits.append(int(text))
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # a module half imported by another thread has it not
        limits.append(torch.get_num_threads())
    return max(1, min(limits))


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Does `work` in a second thread while the block runs, and waits for it; with one thread allowed it is not done.

    For work that keeps its results for whoever asks later, see `start`.
    """
    if allowed_threads() < 2:
        yield
        return
    thread = start(work)
    try:
        yield
    finally:
        thread.join()


def start(work: Callable[[], object]) -> threading.Thread:
    """Begin `work` in a second thread. What it raises is dropped: who asks for the result meets it again."""

    def quietly() -> None:
        with suppress(Exception):
            work()

    thread = threading.Thread(target=quietly, name="chappe-beside")
    thread.start()
    return thread
