"""`chappe edge`: tables, JSON and plots; the environment; relevance as text that the taxonomy reads."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from bench import madeup
from chappe.bench.table import aggregate, cells_to_json
from chappe.cli import edge, encode
from chappe.data.scenes import render_scene
from chappe.edge.gym_env import make_env
from chappe.edge.relevance import LEAST, relevance_from_gradient, relevance_from_omission, relevance_from_rows
from chappe.errors import InputError, UsageError
from chappe.image import image_bytes
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
    call("camera", "--table", rows, "--goal", 0.6, "--slots", 1500, "--codecs", "hevc", "hevc-half", "--stretches", 3,
         "-o", tmp_path / "camera.png", "--quiet")  # fmt: skip
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("adaptive") and "weakest quarter" in out and "certified" in out


def test_published_results_and_tapped_delay_lines_are_enough(tmp_path, capsys):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"cells": cells_to_json(aggregate(madeup.rows()))}))
    words = ("--table", results, "--split", "val", "--codecs", "hevc", "--goal-share", 0.6, "--slot", 0.25, "--rate",
             0.25, "--arrivals", "periodic", "--cpu", 1e10, "--kappa", 1e-29, "--channel", "tdl-c",
             "--json", "-")  # fmt: skip
    call("simulate", *words, "--slots", 500, "--delay", 2)
    run = json.loads(capsys.readouterr().out)
    assert run["report"]["verdict"] == "stable" and run["scenario"]["channel"]["kind"] == "tdl-c"
    call("bound", *words, "--samples", 2000)
    assert 0 < json.loads(capsys.readouterr().out)["bound"] < 1.05 * run["report"]["power"]  # a short run of 16 devices


def test_relevance_writes_the_profile_that_encode_takes(rows, tmp_path, capsys):
    path = tmp_path / "profile.txt"
    assert call("relevance", rows, "--codec", "sqgan-street", "--split", "val", "--strength", 0.5, "-o", path) == 0
    assert capsys.readouterr().out == path.read_text()
    weights = relevance(path.read_text().strip(), "street11")
    assert weights[:11].min() >= 0.5 and weights.max() == 1.0
    image = render_scene(3, size=(64, 128))
    parser = argparse.ArgumentParser()
    encode.add_parser(parser.add_subparsers())
    (tmp_path / "in.png").write_bytes(image_bytes(image.image))
    sizes = []
    for profile in ("uniform", path.read_text()):
        out = tmp_path / "out.chp"
        args = parser.parse_args(["encode", str(tmp_path / "in.png"), str(out), "--codec", "sqgan-street", "--bpp",
                                  "0.04", "--relevance", profile, "--quiet"])  # fmt: skip
        assert args.run(args) == 0
        sizes.append(out.read_bytes())
    assert sizes[0] != sizes[1]


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


def test_omission_is_what_a_class_is_worth_beyond_the_others():
    def measure(profile: str) -> np.ndarray:
        """Cars are read right while they count, and the sky better once it does not."""
        weights = relevance(profile, "street11")
        right = np.full(12, 80)
        right[8] = 20 + 60 * weights[8]
        right[0] = 90 - 10 * weights[0]
        counts = np.diag(right)
        counts[np.arange(12), (np.arange(12) + 1) % 11] += 100 - right
        counts[11] = 0
        return counts * np.where(np.arange(12) == 8, 10, 1)[:, None]

    found = relevance_from_omission(measure)
    assert found.weights["Car"] == 1.0 and found.weights["Sky"] == LEAST == found.weights["Road"]
    assert found.gains["Sky"] < 0 and found.gains["Road"] == 0.0
    share = measure("rest=1").sum(1) / measure("rest=1").sum()
    assert relevance_from_omission(measure, area=True).gains["Car"] == pytest.approx(found.gains["Car"] / share[8])
    half = found.softened(0.5)
    assert half.weights["Car"] == 1.0 and half.weights["Sky"] == pytest.approx(0.525)
    assert (relevance(found.softened(0).text() + ",rest=1", "street11") == 1).all()
    with pytest.raises(UsageError, match="strength"):
        found.softened(1.5)


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
    # Half the pixels are cars: weighing classes alike changes the unit, not the order.
    even = relevance_from_gradient(network, [(original, decoded, truth)], balanced=True)
    assert even.weights == found.weights
    assert even.gains["Car"] == pytest.approx(found.gains["Car"] * 1e6 / (truth == 8).sum(), rel=1e-5)
    with pytest.raises(InputError, match="no picture"):
        relevance_from_gradient(network, [])
