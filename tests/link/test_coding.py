"""CRC, LDPC and transport blocks: catalogue values, Sionna, parity checks, capacity, and any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.errors import UsageError
from chappe.link.crc import CRC16, CRC24A, CRC24B, append_crc, check_crc, crc
from chappe.link.ldpc import MIN_SUM, ldpc_code
from chappe.link.transport import TransportBlock, parse_rate


def qpsk_llrs(coded: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    """LLRs of bits sent as QPSK over AWGN at Es/N0."""
    amplitude, sigma2 = np.sqrt(0.5), 10 ** (-snr_db / 10)
    noise = np.random.default_rng(seed).normal(scale=np.sqrt(sigma2 / 2), size=coded.shape)
    return (4 * amplitude * ((1 - 2.0 * coded) * amplitude + noise) / sigma2).astype(np.float32)


@pytest.mark.parametrize(("kind", "value"), [(CRC24A, 0xCDE703), (CRC24B, 0x23EF52), (CRC16, 0x31C3)])
def test_the_checks_have_their_catalogue_values(kind, value):
    bits = np.unpackbits(np.frombuffer(b"123456789", np.uint8))[None]
    assert int("".join(map(str, crc(bits, kind)[0])), 2) == value
    row = append_crc(bits, kind)
    assert check_crc(row, kind).all()
    for place in range(row.shape[1]):
        wrong = row.copy()
        wrong[0, place] ^= 1
        assert not check_crc(wrong, kind).any()


@pytest.mark.parametrize(("k", "n"), [(24, 60), (292, 400), (700, 1400), (4096, 8192), (8448, 10140), (3000, 40000)])
def test_words_satisfy_the_checks_and_come_back(k, n):
    code = ldpc_code(k, n, 2)
    bits = np.random.default_rng(k).integers(0, 2, (2, k)).astype(np.uint8)
    assert code.satisfies(bits)
    coded = code.encode(bits)
    assert coded.shape == (2, n)
    for scale in (0.0, MIN_SUM):
        found, used = code.decode(4 * (1 - 2.0 * coded), scale=scale)
        assert (found == bits).all() and (used <= 2).all()


@pytest.mark.parametrize(("k", "n", "m"), [(100, 300, 2), (600, 1000, 4), (4096, 8192, 2), (8448, 10140, 6)])
def test_sionna_has_the_same_code(k, n, m):
    pytest.importorskip("sionna")
    from chappe.link.sionna_adapter import SionnaLDPC

    code = ldpc_code(k, n, m)
    theirs = SionnaLDPC(code)
    bits = np.random.default_rng(0).integers(0, 2, (2, k)).astype(np.uint8)
    coded = code.encode(bits)
    assert (theirs.encode(bits) == coded).all()
    if k == 600:  # a noisy word that both read: the sign of the LLRs is turned once, and once only
        llr = qpsk_llrs(coded, 4.0)
        assert (theirs.decode(llr, 10)[0] == bits).all() and (code.decode(llr, 10)[0] == bits).all()


def test_the_waterfall_is_near_capacity():
    code = ldpc_code(4096, 8192, 2)  # rate 1/2: QPSK's limit is Es/N0 = 0.187 dB
    bits = np.random.default_rng(1).integers(0, 2, (40, 4096)).astype(np.uint8)
    coded = code.encode(bits)
    found, used = code.decode(qpsk_llrs(coded, 0.187 + 1.0))
    assert (found != bits).any(axis=1).mean() <= 0.05 and used.mean() < 15
    assert (code.decode(qpsk_llrs(coded, 0.187 - 0.3))[0] != bits).any(axis=1).all()  # nobody is better than capacity
    weaker = (code.decode(qpsk_llrs(coded, 0.187 + 1.2), scale=MIN_SUM)[0] != bits).any(axis=1).mean()
    assert weaker <= 0.2


def test_repetition_gains_what_it_should():
    """Sending everything four times is 6.02 dB: the same words fail at the same noise."""
    once, often = ldpc_code(200, 1000, 2), ldpc_code(200, 4000, 2)
    assert often.repeats and not once.repeats
    bits = np.random.default_rng(2).integers(0, 2, (60, 200)).astype(np.uint8)
    rates = [
        (code.decode(qpsk_llrs(code.encode(bits), snr))[0] != bits).any(axis=1).mean()
        for code, snr in ((once, -4.0), (often, -10.02))
    ]
    assert 0.05 < rates[0] < 0.95 and abs(rates[0] - rates[1]) < 0.25


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=1500), st.sampled_from(["5/6", "3/4", "1/2", "1/3", "1/5", "1/40"]),
       st.sampled_from([1, 2, 4, 6]), st.integers(1, 3))  # fmt: skip
def test_any_payload_comes_back(payload, rate, m, streams):
    block = TransportBlock(len(payload), parse_rate(rate), m, streams)
    coded = block.encode(payload)
    assert len(coded) == block.coded_bits and block.coded_bits % (m * streams) == 0
    wanted = block.blocks * block.k / float(block.rate)
    assert 0 <= block.coded_bits - wanted < m * streams
    assert block.decode((3 - 6.0 * coded).astype(np.float32)).payload == payload


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 1.0, 1e9]))
def test_noise_alone_is_no_payload(size, seed, loudness):
    block = TransportBlock(size, parse_rate("1/2"), 2)
    llr = (np.random.default_rng(seed).normal(size=block.coded_bits) * loudness).astype(np.float32)
    result = block.decode(llr, iterations=3)
    assert result.payload is None and not result.block_ok.all()


def test_segments_follow_the_standard():
    assert (TransportBlock(478, parse_rate("1/2"), 2).graph, TransportBlock(479, parse_rate("1/2"), 2).graph) == (2, 1)
    one, many = TransportBlock(1053, parse_rate("1/2"), 2), TransportBlock(1054, parse_rate("1/2"), 2)
    assert (one.blocks, one.k) == (1, 8448) and (many.blocks, many.k) == (2, 4252)
    assert (
        TransportBlock(2000, parse_rate("1/4"), 2).blocks == 5 and TransportBlock(2000, parse_rate("1/4"), 2).graph == 2
    )


@pytest.mark.parametrize("rate", ["1", "0", "x", "9/10", float("nan"), None])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(UsageError, match="code rate"):
        parse_rate(rate)
