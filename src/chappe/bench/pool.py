"""What every resumable benchmark needs: a file of lines that one process appends to, and calls spread over cores."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chappe.errors import ChappeError, MissingDependency
from chappe.files import why

__all__ = ["appending", "on_cores"]


@contextmanager
def appending(path: Path) -> Iterator:
    """The file, locked against a second sweep, ending in a whole line. Raises ChappeError."""
    try:
        file = open(path, "ab+")
    except OSError as error:
        raise ChappeError(f"{path}: cannot be written: {why(error)}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ChappeError(f"{path}: another sweep is writing to it: wait for it or name another folder.") from error
        except OSError:
            pass  # a file system without locks
        file.seek(0)
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a sweep was killed while it wrote
            file.truncate(whole)
        yield file


def on_cores(function: Callable[..., Any], calls: Sequence[tuple], jobs: int) -> Iterator:
    """Results of function(*call) as they come, from this process or from `jobs` others (joblib).

    The function may change torch's number of threads. Raises MissingDependency, and ChappeError if a process dies.
    """
    jobs = min(jobs, len(calls))
    if jobs <= 1:
        import torch

        threads = torch.get_num_threads()
        try:
            for call in calls:
                yield function(*call)
        finally:
            torch.set_num_threads(threads)
        return
    try:
        import joblib
        from joblib.externals.loky.process_executor import BrokenProcessPool
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Several processes need the Python package 'joblib': install chappe[bench], or use --jobs 1."
        ) from error
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="3*n_jobs")
        try:
            yield from pool(joblib.delayed(_guarded)(os.getpid(), function, call) for call in calls)
        except BrokenProcessPool as error:
            raise ChappeError(
                "A worker process died, perhaps for lack of memory: the same command goes on; use fewer --jobs."
            ) from error


_guards: set[int] = set()


def _guarded(parent: int, function: Callable[..., Any], call: tuple) -> Any:
    """The call, in a process that ends when the one that started it was killed, rather than wait for its word."""
    if parent not in _guards:
        _guards.add(parent)
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()
    return function(*call)


def _outlive(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
