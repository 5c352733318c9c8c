"""Work beside other work: only where the caller may use two threads, and never lost."""

from __future__ import annotations

import threading

import pytest
import torch

from chappe.systems import beside as module
from chappe.systems.beside import allowed_threads, beside


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_threads_follow_the_environment_the_cores_and_torch(four_cores, monkeypatch):
    assert allowed_threads() == 4
    for text, expected in (("1", 1), ("3", 3), ("8", 4), ("0", 1), ("many", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert allowed_threads() == expected, text
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert allowed_threads() == 2


def test_work_is_done_in_another_thread_by_the_end_of_the_block(four_cores):
    done = []
    with beside(lambda: done.append(threading.current_thread().name)):
        pass
    assert done == ["chappe-beside"]


def test_with_one_thread_it_is_left_undone(four_cores, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = []
    with beside(lambda: done.append(1)):
        pass
    assert not done


def test_what_it_raises_is_dropped_and_what_the_block_raises_is_not(four_cores):
    with beside(lambda: 1 / 0):
        pass
    done = threading.Event()
    with pytest.raises(KeyError), beside(done.set):
        raise KeyError("block")
    assert done.is_set()
