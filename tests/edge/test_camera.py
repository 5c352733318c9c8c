"""The camera: with equal pictures it is the general simulator; sizes and marks are those of the frames really sent."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench import madeup
from chappe.edge.camera import camera_scenario, run_camera, study
from chappe.edge.operating import table_from_rows
from chappe.edge.plot import camera_png
from chappe.edge.policies import DriftPlusPenalty, MaxRate
from chappe.edge.simulation import simulate
from chappe.errors import InputError


@pytest.fixture(scope="module")
def tables():
    rows = madeup.rows(codecs=("sqgan-street", "hevc", "hevc-half"))
    return table_from_rows(rows, split="val"), table_from_rows(rows, split="unseen")


def test_equal_pictures_give_what_the_simulator_gives(tables):
    val = tables[0].relative()
    same = replace(val, image_bits=np.tile(val.column("bits"), (6, 1)), image_perf=np.tile(val.column("perf"), (6, 1)))
    scenario = camera_scenario(val, goal=0.6)
    run = run_camera(scenario, MaxRate("hevc@0.16"), same, 2000, warmup=200)
    report = simulate(scenario, MaxRate("hevc@0.16"), 2000, warmup=200)
    assert run.power == pytest.approx(report.power, rel=1e-9)
    assert run.perf == pytest.approx(report.perf, rel=1e-9)
    assert run.delay == pytest.approx(report.delay_items, rel=0.01)


def test_what_is_reported_is_what_the_frames_got(tables):
    val, unseen = (t.relative() for t in tables)
    scenario = replace(camera_scenario(val, goal=0.6), max_items=1.0)
    run = run_camera(scenario, MaxRate("hevc@0.16"), unseen, 24 * 6 * 4, warmup=0)
    column = unseen.index("hevc@0.16")
    # Round and round: every picture as often as every other, but for the round that is under way.
    assert run.perf == pytest.approx(unseen.image_perf[:, column].mean(), rel=0.01)
    assert run.shares == {"hevc@0.16": 1.0} and run.frames + run.unsent >= 24 * 6 - 1
    assert run.cpu == pytest.approx((run.frames + run.held) / 576 * 1e-28 * (0.12 * 2.5e9 / 0.25) ** 3, rel=1e-9)


def test_a_frame_too_large_for_the_power_waits(tables):
    val, unseen = (t.relative() for t in tables)
    scenario = replace(camera_scenario(val, goal=0.6), max_power=0.1)
    large = replace(unseen, image_bits=unseen.image_bits * 1.2)
    run = run_camera(scenario, MaxRate("hevc@0.16"), large, 1500)
    assert run.held > 0 and run.frames > 100
    assert run.transmit <= 0.1


def test_the_study_meets_its_constraints_with_less_power_than_fixed_points(tables):
    found = study(*tables, slots=3000, goal=0.6, delay=1.0, margin=0.03)
    adaptive, fixed = found.runs[0], found.runs[1:]
    assert adaptive.name == "adaptive" and len(adaptive.shares) > 1 and fixed
    assert adaptive.delay == pytest.approx(1.0, rel=0.02)
    assert found.bound < adaptive.power < min(run.power for run in fixed)
    assert sum(len(q) > 0 for q in adaptive.quarters) >= 2
    assert 0 < adaptive.miou < 1 and adaptive.perf_error > 0
    assert found.meets(replace(adaptive, perf=0.6, delay=1.0)) and not found.meets(
        replace(adaptive, perf=0.59, delay=1.0)
    )
    assert all(math.isfinite(run.power) for run in found.runs) and json.dumps(found.to_json())
    assert camera_png(found)[:4] == b"\x89PNG"


def test_the_tables_must_fit(tables):
    val, unseen = (t.relative() for t in tables)
    with pytest.raises(InputError, match="same order"):
        run_camera(camera_scenario(val, goal=0.6), DriftPlusPenalty(), unseen.take([0, 1]), 10)
    with pytest.raises(InputError, match="on both splits"):
        study(tables[0].take([0]), tables[1].take([1]))
