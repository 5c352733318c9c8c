"""SCSC's items beside our links: every item prints, what is not trained says so, and numbers follow from rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chappe.bench import published, reproduce, reproduce_link
from chappe.bench.protocol import Frame
from chappe.bench.reproduce import format_lines
from chappe.bench.reproduce_link import NAMES, PLAIN, LinkBench, _gained, _mean, _saved
from chappe.data.scenes import render_scene
from chappe.link.learned import JsccNet, save_folder, store
from chappe.link.learned.config import JsccConfig, PpenConfig
from chappe.link.learned.mutual import MutualPrecoder
from chappe.link.learned.ppen import PPEN

TINY = JsccConfig(symbols=8, widths=(4, 6, 8, 8))


class Small(LinkBench):
    """Fewer points of each kind: the curves' own grids take long."""

    def rows(self, systems, snrs, cbrs):
        return super().rows(systems, snrs[-1:], cbrs[-2:])


@pytest.fixture(scope="module")
def bench():
    scene = render_scene(3, size=(64, 128))
    frames = [Frame("s", scene.image, scene.labels, "street11")]
    return Small(frames, seeds=1, codec="jpeg", judge=lambda image: (image.mean(2) // 24).astype(np.uint8))


@pytest.fixture
def untrained(monkeypatch):
    """Only a precoder ships."""
    kept = store.BUNDLED["scsc"]
    for name in list(store.BUNDLED):
        monkeypatch.delitem(store.BUNDLED, name)
    monkeypatch.setitem(store.BUNDLED, "mutual", kept)


def folders(monkeypatch, path):
    """Small folders of every system but ProxyNet."""
    torch.manual_seed(0)
    for name, parts in (("adjscc", {"net": JsccNet(TINY)}), ("deepjscc-mimo", {"net": JsccNet(TINY)}),
                        ("scsc", {"ppen": PPEN(PpenConfig(widths=(4,))), "mutual": MutualPrecoder()})):  # fmt: skip
        save_folder(path / name, name, parts, codec="jpeg")
        monkeypatch.setitem(store.BUNDLED, name, path / name)
    monkeypatch.setitem(store.BUNDLED, "mutual", path / "scsc")
    monkeypatch.delitem(store.BUNDLED, "proxynet", raising=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_item_prints(name, bench, untrained, monkeypatch):
    monkeypatch.setattr(reproduce_link, "_speed", lambda call: (call(), 7.0)[1])
    item = published.load_item(name)
    lines = NAMES[name](item, bench)
    text = format_lines(item, lines, "one scene")
    assert any(line.ours is not None for line in lines) and item.title in text
    assert {f.value for f in item.facts} <= {line.paper for line in lines}
    assert name in ("scsc-fig14", "scsc-table3") or "not trained" in text


@pytest.mark.parametrize("name", ["scsc-fig6", "scsc-fig12", "scsc-fig16", "scsc-table1", "scsc-table2"])
def test_systems_that_ship_are_measured(name, bench, monkeypatch, tmp_path):
    folders(monkeypatch, tmp_path)
    item = published.load_item(name)
    lines = NAMES[name](item, bench)
    measured = [line.what for line in lines if line.ours is not None]
    assert any("SCSC" in what for what in measured)
    assert name in ("scsc-fig12", "scsc-table2") or any("ADJSCC" in what for what in measured)
    assert not any("ProxyNet" in what for what in measured)
    assert any(w.startswith("SCSC w/o PPEN") for w in measured) == (name == "scsc-fig16")


def test_items_are_those_that_are_published():
    assert set(NAMES) == {name for name in published.item_names() if name.startswith("scsc-")}


def test_means_are_over_transmissions():
    rows = [{"reached": True, "psnr": p, "lost": p < 20, "confusion": np.eye(12, dtype=int) * p} for p in (10, 30)]
    assert _mean(rows, "psnr") == 20 and _mean(rows, "lost") == 50 and _mean(rows, "miou") == 100
    assert _mean([*rows, {"reached": False}], "psnr") is None and _mean([], "psnr") is None


def test_half_the_symbols_are_minus_50_percent():
    rows = [
        {"system": name, "cbr": cbr * share, "cbr_wanted": cbr, "snr_db": snr, "reached": True, "psnr": value + more}
        for name, share, more in ((PLAIN, 1, 0), ("better", 0.5, 0))
        for cbr, snr, value in ((0.02, 2.0, 20), (0.04, 6.0, 23), (0.08, 10.0, 27))
    ]
    assert _saved(rows, "better", PLAIN, "psnr") == pytest.approx(-50)
    assert _gained(rows, "better", PLAIN, "psnr") == pytest.approx(0, abs=1e-9)
    assert _saved(rows, "absent", PLAIN, "psnr") is None and _gained(rows, "absent", PLAIN, "psnr") is None


def test_the_paper_alone(capsys):
    assert reproduce.run("scsc-table3", None) == 0
    assert "125.8" in capsys.readouterr().out
