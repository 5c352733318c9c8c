"""Scrambling against a shift register, against Sionna, and in the link."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chappe.errors import UsageError
from chappe.link import DigitalLink
from chappe.link.scrambling import C_INIT, gold, scrambling_init


def shift_register(c_init: int, length: int) -> list[int]:
    """TS 38.211, 5.2.1, one bit at a time."""
    x1, x2 = [1] + [0] * 30, [c_init >> i & 1 for i in range(31)]
    for n in range(length + 1600 - 31):
        x1.append(x1[n + 3] ^ x1[n])
        x2.append(x2[n + 3] ^ x2[n + 2] ^ x2[n + 1] ^ x2[n])
    return [a ^ b for a, b in zip(x1[1600:], x2[1600:], strict=True)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, (1 << 31) - 1), st.integers(1, 3000))
@example(C_INIT, 1)
@example(0, 1025)
def test_the_sequence_is_the_shift_registers(c_init, length):
    assert gold(c_init, length).tolist() == shift_register(c_init, length)


def test_sionna_has_the_same_sequence():
    pytest.importorskip("sionna")
    from chappe.link.sionna_adapter import sionna

    scrambler = sionna("fec.scrambling").TB5GScrambler
    for user, cell in ((1, 1), (65535, 1007)):
        theirs = scrambler(n_rnti=user, n_id=cell, binary=True)(torch.zeros(1, 4000))[0].numpy()
        assert np.array_equal(theirs, gold(scrambling_init(user, cell), 4000))


def test_equal_bytes_send_unequal_symbols():
    sent = []

    class Spy(DigitalLink):
        def air(self, x, h, known, noise):
            sent.append(x.clone())
            return super().air(x, h, known, noise)

    for scrambling in (None, C_INIT):
        link = Spy("awgn2x2", 12.0, scrambling=scrambling)
        assert link.send(bytes(500)).payload == bytes(500)
    plain, scrambled = (abs(complex(x.mean())) for x in sent)
    assert plain > 0.5 and scrambled < 0.06
    assert DigitalLink("bsc", scrambling=7).send(bytes(500)).ok


def test_what_is_no_start():
    with pytest.raises(UsageError, match="31 bits"):
        DigitalLink(scrambling=1 << 31)
