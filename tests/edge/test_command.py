"""`chappe edge`: tables, JSON and plots; the environment; relevance as text that the taxonomy reads."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from bench import madeup
from chappe.cli import edge
from chappe.edge.gym_env import make_env
from chappe.edge.relevance import LEAST, relevance_from_gradient, relevance_from_rows
from chappe.errors import InputError, UsageError
from chappe.metrics import per_class_iou
from chappe.taxonomy import relevance
from edge.worlds import world


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    edge.add_parser(parser.add_subparsers())
    args = parser.parse_args(["edge", *map(str, words)])
    return args.run(args)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in madeup.rows()))
    return path


def test_simulate_prints_and_writes(tmp_path, capsys):
    assert call("simulate", "--slots", 300, "--delay", 0.3, "--devices", 8, "--json", tmp_path / "run.json") == 0
    told = capsys.readouterr().out
    assert "verdict" in told and "performance" in told
    data = json.loads((tmp_path / "run.json").read_text())
    assert data["report"]["slots"] == 300 and data["scenario"]["devices"] == 8
    assert data["report"]["arrived"] == data["report"]["left"] + data["report"]["waiting"]


def test_sweep_and_bound_agree_on_the_bound(tmp_path, capsys):
    png = tmp_path / "trade.png"
    call("sweep", "--policies", "plain", "maxrate", "--v", 30, 100, "--slots", 400, "--channel", "bins", "--json",
         tmp_path / "sweep.json", "-o", png, "--quiet")  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "certified" in lines[-1] and png.read_bytes()[:4] == b"\x89PNG"
    swept = json.loads((tmp_path / "sweep.json").read_text())
    assert all(run["charged"] >= swept["bound"] for run in swept["runs"])
    call("bound", "--channel", "bins", "--json", "-")
    told = json.loads(capsys.readouterr().out)
    assert told["bound"] == pytest.approx(swept["bound"], rel=0.01) and told["bound"] <= 19.8603e-3
    assert told["value"] == pytest.approx(19.86e-3, rel=0.01) and told["capacity"] == pytest.approx(4.0)


def test_measured_rows_are_a_table(rows, capsys):
    call("simulate", "--table", rows, "--split", "val", "--goal-share", 0.6, "--slot", 0.25, "--rate", 0.25, "--cpu",
         2.5e9, "--slots", 300, "--devices", 4)  # fmt: skip
    out = capsys.readouterr()
    assert "goal 0.6" in out.out and "hevc@0.02: 3 of 6 pictures do not reach it" in out.err


def test_camera_names_points_and_bound(rows, tmp_path, capsys):
    call("camera", "--table", rows, "--goal", 0.6, "--slots", 1500, "--codecs", "hevc", "hevc-half", "-o",
         tmp_path / "camera.png", "--quiet")  # fmt: skip
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("adaptive") and "weakest quarter" in out and "certified" in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("simulate", "--policy", "magic"), "no policy 'magic'"),
        (("simulate", "--policy", "fixed:9"), "no operating point '9'"),
        (("sweep", "-o", "plot.jpg"), "end the name"),
        (("simulate", "--goal", 0.99), "no point reaches"),
    ],
)
def test_wrong_calls_are_one_sentence(words, text):
    with pytest.raises((UsageError, InputError), match=text):
        call(*words)


def test_the_environment_passes_the_check_and_pays_the_lagrangian():
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    env = make_env(world(devices=1), slots=50, price_perf=0.3, price_delay=0.05)
    check_env(env, skip_render_check=True)
    env.reset(seed=3)
    total, ended = 0.0, False
    while not ended:
        _, reward, over, ended, info = env.step(env.actions.index((1, 1)))
        assert reward == pytest.approx(-(info["power"] + 0.3 * info["items"] * (0.95 - 0.965) + 0.05 * info["queue"]))
        assert info["items"] <= info["queue"] and not over
        total += info["items"]
    assert total > 10
    with pytest.raises(UsageError, match="one device"):
        make_env(world(), price_perf=0.0, price_delay=0.0)


def test_relevance_is_the_slope_of_each_class():
    table = madeup.rows(splits=("val",))
    found = relevance_from_rows(table, "sqgan-street")
    mine = [r for r in table if (r["codec"], r["labels"]) == ("sqgan-street", "predicted")]
    groups = [[r for r in mine if r["point"] == f"{rate:g}"] for rate in madeup.RATES]
    rate = [np.log2(np.mean([r["bpp"] for r in group])) for group in groups]
    iou = [per_class_iou(sum(np.array(r["eye:judge"]) for r in group))[8] for group in groups]
    slope = np.polyfit(rate, iou, 1)[0]
    assert found.gains["Car"] == pytest.approx(slope, rel=1e-9)
    weights = relevance(found.text(), "street11")
    assert weights.max() == 1.0 and weights[:11].min() >= LEAST
    assert weights[8] == pytest.approx(max(LEAST, slope / max(found.gains.values())), abs=2e-3)
    with pytest.raises(InputError, match="two or more"):
        relevance_from_rows(table, "nothing")


def test_the_gradient_finds_the_class_that_coding_hurt():
    import torch

    truth = np.zeros((16, 16), np.uint8)
    truth[:, 8:] = 8  # Car, told from Sky by red
    original = np.where(truth[..., None] == 8, [200, 100, 100], [50, 100, 100]).astype(np.uint8)
    decoded = original.copy()
    decoded[:, 8:] = [120, 100, 100]  # cars became grey, the sky is as it was

    def network(x: torch.Tensor) -> torch.Tensor:
        logits = torch.full((1, 11, *x.shape[2:]), -9.0)
        return torch.cat([-x[:, :1] * 4, logits[:, 1:8], x[:, :1] * 4, logits[:, 9:]], 1)

    found = relevance_from_gradient(network, [(original, decoded, truth)])
    assert found.weights["Car"] == 1.0 and found.weights["Sky"] == LEAST
    assert found.gains["Sky"] == 0.0
    with pytest.raises(InputError, match="no picture"):
        relevance_from_gradient(network, [])
