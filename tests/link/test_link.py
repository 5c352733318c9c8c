"""The digital link end to end: what arrives, what is counted, what fits, pictures, rows and the command."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from chappe.cli import link as command
from chappe.errors import ChappeError, RateError, UsageError
from chappe.image import read_image, write_image
from chappe.link import MCS_TABLE, ChannelSpec, DigitalLink, PictureLink, best_mcs, parse_mcs, payload_limit, sweep
from chappe.link.adaptation import bit_information, outage, uses_budget
from chappe.link.digital import _pieces
from chappe.link.picture import encode_within, parse_cbr

PAYLOAD = np.random.default_rng(0).bytes(700)
IMAGE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.mark.parametrize("channel", ["awgn", "awgn2x2", "rayleigh2x2", "rician2x4", "tdl-a2x2", "tdl-c4x2", "bsc"])
def test_a_good_channel_brings_the_bytes(channel):
    reception = DigitalLink(channel, 20.0).send(PAYLOAD, seed=4)
    assert reception.payload == PAYLOAD and reception.ok and not reception.undetected
    assert reception.block_errors == 0 < reception.blocks and reception.ber == 0
    assert reception.unit == ("bit" if channel == "bsc" else "complex")
    assert (reception.cbr(1000) is None) == (channel == "bsc")
    assert "SNR = P/sigma^2" in reception.text or channel == "bsc"


def test_cdl_comes_from_sionna():
    pytest.importorskip("sionna")
    link = DigitalLink(ChannelSpec("cdl-c", 2, 2, subcarriers=48), 15.0)
    first, again = link.send(PAYLOAD, seed=4), link.send(PAYLOAD, seed=4)
    assert first.ok and first.raw_ber == again.raw_ber > 0


@pytest.mark.parametrize("options", [{"modulation": "16qam"}, {"modulation": "64qam", "rate": "3/4"},
                                     {"precoder": "none"},
                                     {"precoder": "none", "detector": "ml"}, {"precoder": "svd-waterfill"},
                                     {"detector": "zf"}, {"llr": "maxlog", "decoder": "minsum"}])  # fmt: skip
def test_every_part_works_in_the_chain(options):
    link = DigitalLink("rayleigh2x2", 30.0, **options)
    reception = link.send(PAYLOAD, seed=1)
    assert reception.payload == PAYLOAD and reception.channel_uses == link.channel_uses(len(PAYLOAD))
    assert reception.constellation.size == min(2048, 2 * reception.channel_uses)
    assert reception.cbr(512 * 256) == reception.channel_uses / 393216


def test_the_cliff_is_seen_and_counted():
    link = DigitalLink("awgn", 0.0)
    lost, whole = replace(link, snr_db=-1.5).send_all([PAYLOAD] * 3), replace(link, snr_db=2.0).send_all([PAYLOAD] * 3)
    assert all(r.payload is None and r.block_errors == r.blocks == 1 and r.ber > 0.01 for r in lost)
    assert all(r.payload == PAYLOAD for r in whole) and whole[0].raw_ber < lost[0].raw_ber
    assert lost[0].raw_ber == pytest.approx(0.2, abs=0.02)  # Q(sqrt(SNR))


def test_payloads_are_lost_one_by_one():
    link = DigitalLink(ChannelSpec("rayleigh", 1, 1, fade_every=80), 3.0)
    out = link.send_all([bytes([i]) * 15 for i in range(40)], seed=2)
    arrived = [r.payload for r in out]
    assert 0 < arrived.count(None) < 40 and all(p in (None, bytes([i]) * 15) for i, p in enumerate(arrived))
    packets = DigitalLink(ChannelSpec("erasure", loss=0.3)).send_all([b"x" * 100] * 400, seed=1)
    assert sum(not r.ok for r in packets) / 400 == pytest.approx(0.3, abs=0.08)
    assert packets[0].channel_uses == 1 and packets[0].cbr(100) is None


def test_snr_of_all_antennas_and_wrong_csi():
    each = DigitalLink("rayleigh2x2", 6.0).send(PAYLOAD, seed=7)
    total = DigitalLink("rayleigh2x2", 6.0 + 10 * np.log10(2), snr="total").send(PAYLOAD, seed=7)
    assert each.raw_ber == pytest.approx(total.raw_ber, abs=1e-9) and each.text != total.text
    fades = ChannelSpec("rayleigh", 2, 2, fade_every=16)
    errors = [
        DigitalLink(fades, 10.0, csi_error=error, csi_aware=aware).send(PAYLOAD, seed=7)
        for error, aware in ((0.0, False), (0.1, False), (0.1, True))
    ]
    assert errors[0].raw_ber < errors[1].raw_ber and errors[2].raw_ber < 1.1 * errors[1].raw_ber


def test_the_seed_decides():
    link = DigitalLink("rayleigh2x2", 5.0)
    first, again, other = (link.send(PAYLOAD, seed=seed) for seed in (3, 3, 4))
    assert first.raw_ber == again.raw_ber != other.raw_ber


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 20))
def test_pieces_cover_every_use_once(uses, per):
    per = min(per, uses) if per > 40 else max(per, uses // 5000 + 1)
    end = 0
    for start, count, block in _pieces(uses, per):
        assert start == end and 0 < count <= (1 << 16) + per
        assert block.start == start // per and block.stop - 1 == (start + count - 1) // per
        assert block.stop - block.start == 1 or count % per == 0
        end += count
    assert end == uses


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 200_000), st.sampled_from(MCS_TABLE), st.sampled_from(["awgn", "rayleigh2x2", "rayleigh4x3"]))
def test_the_largest_payload_fits_and_no_larger(uses, mcs, channel):
    link = DigitalLink(channel, modulation=mcs.modulation, rate=mcs.rate)
    if link.channel_uses(1) > uses:
        with pytest.raises(RateError, match="carry nothing"):
            payload_limit(link, uses)
    else:
        size = payload_limit(link, uses)
        assert link.channel_uses(size) <= uses < link.channel_uses(size + 1)


def test_information_and_adaptation():
    assert float(np.interp(0.5, bit_information("qpsk", grid := np.arange(-5, 5, 0.01)), grid)) == pytest.approx(
        0.187, abs=0.01
    )
    assert bit_information("64qam", 40.0) == pytest.approx(1) and bit_information("16qam", -30.0) < 0.01
    picks = [best_mcs(DigitalLink("awgn", snr), 700).name for snr in (-6, 2, 8, 20)]
    assert picks == ["qpsk-1/10", "qpsk-1/2", "16qam-1/2", "64qam-5/6"]
    for snr in (8, 20):  # it arrives, and the next faster one does not
        link, index = (
            DigitalLink("awgn", snr),
            [m.name for m in MCS_TABLE].index(best_mcs(DigitalLink("awgn", snr), 700).name),
        )
        for step in (0, 1):
            if index + step < len(MCS_TABLE):
                mcs = MCS_TABLE[index + step]
                assert replace(link, modulation=mcs.modulation, rate=mcs.rate).send(PAYLOAD).ok == (step == 0)
    fading = DigitalLink("rayleigh2x2", 6.0, rate="3/4")
    lost = np.mean([not fading.send(PAYLOAD, seed=seed).ok for seed in range(40)])
    assert outage(fading, len(PAYLOAD), draws=40) == pytest.approx(lost, abs=0.15)


def test_budgets():
    assert uses_budget(parse_cbr("1/12"), 256 * 512) == 32768 and uses_budget(0.5, 2) == 3
    with pytest.raises(UsageError, match="channel bandwidth ratio"):
        parse_cbr("0/0")


class Rates(toys.MeanColour):
    """Takes rates from 0.05 to 2 bpp and fills the file up to them."""

    def encode(self, image, *, labels=None, bpp=None, point=None):
        if bpp is not None and not 0.05 <= bpp <= 2:
            raise RateError("toy-mean reaches 0.05 to 2 bpp.")
        from chappe.bitstream import container

        height, width = read_image(image).shape[:2]
        filling = container.Section(container.SectionType.COARSE_IMAGE, bytes(3) + bytes(int(bpp * height * width / 8)))
        return container.write(container.Header(self.codec_id, 0xABCD, width, height), [filling])

    def decode(self, blob):
        out = super().encode(np.zeros((48, 64, 3), np.uint8))
        return super().decode(out)


def test_files_fit_their_budget():
    link = DigitalLink("awgn", 10.0)
    for uses in (400, 2000, 7000):
        blob = encode_within(Rates(), IMAGE, link, uses)
        assert 0.75 * uses < link.channel_uses(len(blob)) <= uses or len(blob) > 0.85 * 2 * 48 * 64 / 8
    with pytest.raises(RateError):
        encode_within(Rates(), IMAGE, link, 60)
    far = PictureLink(Rates(), link).transmit(IMAGE, cbr=0.2)
    assert not far.lost and far.cbr <= 0.2 and far.image.shape == IMAGE.shape
    lost = PictureLink(Rates(), replace(link, snr_db=-9.0)).transmit(IMAGE, bpp=1.0)
    assert lost.lost and (lost.image == 128).all() and "code blocks failed" in lost.why and lost.block_errors > 0
    with pytest.raises(UsageError, match="one of"):
        PictureLink(Rates(), link).transmit(IMAGE, cbr=0.2, bpp=1.0)


def test_rows_of_a_sweep(monkeypatch):
    toys.install(monkeypatch)
    links = {"siso": DigitalLink("awgn"), "mimo": DigitalLink("rayleigh2x2")}
    rows = list(sweep([Rates()], {"a": IMAGE}, links, [-5.0, 12.0], cbrs=["1/4", "1/1000"], seeds=[0, 1]))
    assert len(rows) == 2 * 2 * 2 * 2 and json.loads(json.dumps(rows)) == rows
    assert all(not row["reached"] for row in rows if row["cbr_wanted"] < 0.01)
    reached = [row for row in rows if row["reached"]]
    assert all(row["lost"] and row["psnr"] < 20 for row in reached if row["snr_db"] < 0 and row["link"] == "siso")
    assert all(not row["lost"] and row["cbr"] <= 0.25 for row in reached if row["snr_db"] > 0 and row["link"] == "siso")
    adapted = list(sweep([Rates()], {"a": IMAGE}, {"siso": links["siso"]}, [-5.0, 12.0], cbrs=[0.3], mcs=MCS_TABLE))
    assert [row["lost"] for row in adapted] == [False, False] and adapted[0]["rate"] != adapted[1]["rate"]


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["link", *map(str, words)])
    return args.run(args)


def test_the_command(tmp_path, capsys, monkeypatch):
    toys.install(monkeypatch)
    photo, out, figure = tmp_path / "in.png", tmp_path / "out.png", tmp_path / "figure.png"
    write_image(photo, IMAGE)
    assert call(photo, "-o", out, "--codec", "toy-mean", "--snr", 12, "--figure", figure) == 0
    told = capsys.readouterr().err
    assert read_image(out).shape == IMAGE.shape and figure.read_bytes()[:4] == b"\x89PNG"
    assert "CBR" in told and "SNR = P/sigma^2" in told and "0 lost" in told
    out.unlink()
    with pytest.raises(ChappeError, match="lost: 1 of 1 code blocks failed") as caught:
        call(photo, "-o", out, "--codec", "toy-mean", "--snr", -30, "--quiet")
    assert caught.value.exit_code == 1 and not out.exists() and capsys.readouterr().err == ""
    assert call(photo, "--codec", "toy-mean", "--channel", "awgn", "--snr", -7, "--mcs", "auto") == 0
    assert "qpsk, rate 1/20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--mcs", "8psk-1/2"), "no modulation"),
        (("--channel", "fm"), "no channel"),
        (("--figure", "a.jpg"), "end the name"),
        (("--seed", -1), "seed"),
        (("--precoder", "magic"), "no precoder"),
        (("--cbr", "x"), "ratio"),
    ],
)
def test_wrong_calls_are_one_sentence(words, text, tmp_path, monkeypatch):
    toys.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_image("in.png", IMAGE)
    with pytest.raises(UsageError, match=text):
        call("in.png", "--codec", "toy-mean", *words)


def test_names_of_schemes():
    assert parse_mcs("16qam-1/2").name == "16qam-1/2" and parse_mcs("64qam-5/6").efficiency == pytest.approx(5)
    efficiencies = [mcs.efficiency for mcs in MCS_TABLE]
    assert efficiencies == sorted(efficiencies)
    for options in (
        {"detector": "x"},
        {"precoder": "x"},
        {"snr": "x"},
        {"llr": "x"},
        {"decoder": "x"},
        {"snr_db": float("nan")},
    ):
        with pytest.raises(UsageError):
            DigitalLink(**options)
    with pytest.raises(UsageError, match="nothing to send"):
        DigitalLink().send_all([])
