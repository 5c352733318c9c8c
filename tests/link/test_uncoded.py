"""Uncoded QPSK against its closed form, and what it does to RL-ASC's rate in the paper."""

from __future__ import annotations

import numpy as np
import pytest

from chappe.errors import UsageError
from chappe.link.uncoded import bit_error_rate, uncoded_qpsk


@pytest.mark.parametrize("snr_db", [0.0, 4.0, 8.0])
def test_errors_are_as_frequent_as_theory_says(snr_db):
    data = np.random.default_rng(0).bytes(60_000)
    received = uncoded_qpsk(data, snr_db, 1)
    wrong = np.unpackbits(np.frombuffer(data, np.uint8) ^ np.frombuffer(received, np.uint8)).sum()
    mean = 8 * len(data) * bit_error_rate(snr_db)
    assert abs(wrong - mean) < 4 * mean**0.5


def test_the_papers_picture_has_about_a_hundred_errors_at_9_db_and_hardly_one_at_12():
    bits = 0.33 * 256 * 512
    assert bits * bit_error_rate(9) == pytest.approx(104, rel=0.02)
    assert bits * bit_error_rate(12) == pytest.approx(1.5, rel=0.05)


def test_what_is_protected_comes_through():
    data = bytes(range(200))
    received = uncoded_qpsk(data, -20.0, 3, protected=50)
    assert received[:50] == data[:50] and received[50:] != data[50:] and len(received) == 200
    assert uncoded_qpsk(data, 60.0, 3) == data and uncoded_qpsk(b"", 3.0, 0) == b""
    with pytest.raises(UsageError):
        uncoded_qpsk(data, 3.0, 0, protected=201)
