"""Rows of a sweep: links of any kind over the same fades, and nothing done twice that does not depend on the fade."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import toys
from chappe.errors import UsageError
from chappe.link import DigitalLink, PictureLink, sweep
from chappe.link.learned import JsccLink, JsccNet, store
from chappe.link.learned.config import JsccConfig, MutualConfig, PpenConfig
from chappe.link.learned.enhanced import EnhancedLink, enhanced
from chappe.link.learned.mutual import MutualPrecoder
from chappe.link.learned.ppen import PPEN
from chappe.link.learned.scsc import ScscLink
from chappe.link.learned.store import BUNDLED, bundled
from chappe.link.picture import encode_within
from chappe.link.transport import parse_rate
from chappe.modelfolder import has_weights

IMAGE = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


class Counting(toys.MeanColour):
    encoded = decoded = 0

    def encode(self, image, **options):
        self.encoded += 1
        return super().encode(image, **options)

    def decode(self, blob):
        self.decoded += 1
        return super().decode(blob)


def test_one_list_of_systems_makes_one_list_of_rows(monkeypatch):
    toys.install(monkeypatch)
    torch.manual_seed(0)
    radio = DigitalLink("rayleigh2x2")
    codec, measured = Counting(), []
    systems = {
        "plain": PictureLink(codec, radio),
        "precoded": PictureLink(codec, enhanced(DigitalLink("rayleigh2x2", detector="ml"), MutualPrecoder())),
        "symbols": JsccLink("adjscc", JsccNet(JsccConfig(symbols=8, widths=(4, 6, 8, 8))), radio),
    }

    def measure(original, received):
        measured.append(received.image.tobytes())
        return {"mean": float(received.image.mean())}

    rows = list(sweep(systems, {"a": IMAGE}, None, [-20.0, 25.0], cbrs=["1/8"], seeds=range(4), measure=measure))
    assert len(rows) == 3 * 2 * 4 and json.loads(json.dumps(rows)) == rows
    assert codec.encoded <= 4 and codec.decoded == 1  # a search for the rate, once
    assert len(set(measured)) == len(measured) == 2 + 8  # grey, the mean colour, and each picture of symbols
    by = {(r["system"], r["snr_db"], r["seed"]): r for r in rows}
    assert all(by[s, -20.0, 0]["lost"] and not by[s, 25.0, 0]["lost"] for s in ("plain", "precoded"))
    assert by["precoded", 25.0, 0]["precoder"] == "MutualPrecoder" and by["symbols", 25.0, 0]["codec"] is None
    assert not by["symbols", -20.0, 0]["lost"] and by["symbols", 25.0, 0]["cbr"] <= 1 / 8
    direct = systems["symbols"].on(DigitalLink("rayleigh2x2", 25.0)).transmit(IMAGE, cbr="1/8", seed=3)
    assert by["symbols", 25.0, 3]["mean"] == direct.image.mean()


def test_all_systems_on_all_radios(monkeypatch):
    toys.install(monkeypatch)
    radios = {"one": DigitalLink("awgn"), "two": DigitalLink("awgn2x2", precoder="none")}
    rows = list(sweep(["toy-mean", PictureLink(Counting(), DigitalLink())], {"a": IMAGE}, radios, [12.0], cbrs=["1/4"]))
    assert [(row["link"], row["channel"]) for row in rows] == [("one", "awgn"), ("two", "awgn2x2")] * 2
    assert {row["system"] for row in rows} == {"toy-mean", "toy-mean over rayleigh2x2"}
    own = list(sweep([PictureLink(Counting(), DigitalLink("awgn"), bpp=1.0)], {"a": IMAGE}, None, [12.0], cbrs=[None]))
    assert own[0]["cbr_wanted"] is None and own[0]["reached"] and own[0]["channel_uses"] > 0
    with pytest.raises(UsageError, match="no radio"):
        list(sweep(["toy-mean"], {"a": IMAGE}, None, [12.0], cbrs=["1/4"]))


def test_systems_move_to_other_radios_whole():
    torch.manual_seed(0)
    here = DigitalLink("rayleigh2x2", 6.0)
    scsc = ScscLink("jpeg", enhanced(here, MutualPrecoder()), PPEN(PpenConfig(widths=(4,))))
    there = scsc.on(DigitalLink("rayleigh2x2", 20.0, detector="ml"))
    assert isinstance(there.radio, EnhancedLink) and there.radio.snr_db == 20 and there.radio.detector == "ml"
    assert there.ppen is scsc.ppen and scsc.radio.snr_db == 6 and there.name == "scsc"
    assert there.link is there.radio
    with pytest.raises(UsageError, match="2x2"):
        scsc.on(DigitalLink("rayleigh4x4"))
    assert isinstance(scsc.on(enhanced(here, MutualPrecoder(MutualConfig(hidden=4)))).radio, EnhancedLink)


@pytest.mark.parametrize("uses", [2000, 20_000])
def test_a_filled_link_takes_its_whole_budget(uses):
    link = DigitalLink("rayleigh2x2", 0.0)
    far = PictureLink("jpeg", link, bpp=1.0, fill=True)
    blob, radio = far.pack(IMAGE, cbr=uses / IMAGE.size)
    assert 8 * len(blob) / (48 * 64) < 1.1
    assert 0.97 * uses < radio.channel_uses(len(blob)) <= uses and parse_rate(radio.rate) < parse_rate("1/2")
    assert len(blob) <= len(encode_within(far.codec, IMAGE, link, uses))
    with pytest.raises(UsageError, match="either"):
        PictureLink("jpeg", link, adapt=True, fill=True)


def test_links_of_ones_own_join_in(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAPPE_LINKS", str(tmp_path))
    for name in ("link-adjscc-street-v9", "link-mine-street-v1", "link-mine-street-v10", "link-empty-street-v1"):
        (tmp_path / name).mkdir()
        if "empty" not in name:
            (tmp_path / name / "config.json").write_text("{}")
    found = store._newest()
    assert found["adjscc"] == tmp_path / "link-adjscc-street-v9" and found["scsc"] == BUNDLED["scsc"]
    assert found["mine"] == tmp_path / "link-mine-street-v10" and "empty" not in found


def test_what_ships_and_what_does_not(monkeypatch):
    assert all(has_weights(folder) for folder in BUNDLED.values())
    monkeypatch.delitem(BUNDLED, "proxynet", raising=False)
    with pytest.raises(UsageError, match=r"no weights of proxynet ship .*--weights"):
        bundled("proxynet")
