"""SCSC's items beside our links: every item prints, what is not trained says so, and numbers follow from rows."""

from __future__ import annotations

import numpy as np
import pytest

from chappe.bench import published, reproduce, reproduce_link
from chappe.bench.protocol import Frame
from chappe.bench.reproduce import format_lines
from chappe.bench.reproduce_link import NAMES, LinkBench, _mean
from chappe.data.scenes import render_scene


class Small(LinkBench):
    """Fewer points of each kind: the curves' own grids take long."""

    def rows(self, links, snrs, cbrs, codec=None):
        return super().rows(links, snrs[-1:], cbrs[-2:], codec)


@pytest.fixture(scope="module")
def bench():
    scene = render_scene(3, size=(128, 256))
    frames = [Frame("s", scene.image, scene.labels, "street11")]
    return Small(frames, seeds=1, codec="jpeg", judge=lambda image: (image.mean(2) // 24).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_every_item_prints(name, bench, monkeypatch):
    monkeypatch.setattr(reproduce_link, "_speed", lambda call: (call(), 7.0)[1])
    item = published.load_item(name)
    lines = NAMES[name](item, bench)
    text = format_lines(item, lines, "one scene")
    assert any(line.ours is not None for line in lines) and item.title in text
    assert {f.value for f in item.facts} <= {line.paper for line in lines}
    assert name == "scsc-fig8" or "not trained" in text


def test_items_are_those_that_are_published():
    assert set(NAMES) == {name for name in published.item_names() if name.startswith("scsc-")}


def test_means_are_over_transmissions():
    rows = [{"reached": True, "psnr": p, "lost": p < 20, "confusion": np.eye(12, dtype=int) * p} for p in (10, 30)]
    assert _mean(rows, "psnr") == 20 and _mean(rows, "lost") == 50 and _mean(rows, "miou") == 100
    assert _mean([*rows, {"reached": False}], "psnr") is None and _mean([], "psnr") is None


def test_the_paper_alone(capsys):
    assert reproduce.run("scsc-table3", None) == 0
    assert "125.8" in capsys.readouterr().out
