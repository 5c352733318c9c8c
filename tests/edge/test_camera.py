"""The camera: with equal pictures it is the general simulator; sizes and marks are those of the frames really sent."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench import madeup
from chappe.edge.camera import camera_scenario, run_camera, study
from chappe.edge.operating import CLOCK, table_from_rows
from chappe.edge.plot import camera_png
from chappe.edge.policies import DriftPlusPenalty, MaxRate
from chappe.edge.simulation import simulate
from chappe.errors import InputError, UsageError


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
    cores = 4 * 1.6 * (0.12 / 0.25 / 4) ** 3  # W of four cores that do 0.12 s of work in a slot of 0.25 s
    assert run.cpu == pytest.approx((run.frames + run.held) / 576 * cores, rel=1e-9)


def test_a_frame_too_large_for_the_power_waits(tables):
    val, unseen = (t.relative() for t in tables)
    scenario = replace(camera_scenario(val, goal=0.6), max_power=0.1)
    large = replace(unseen, image_bits=unseen.image_bits * 1.2)
    run = run_camera(scenario, MaxRate("hevc@0.16"), large, 1500)
    assert run.held > 0 and run.frames > 100
    assert run.transmit <= 0.1


def test_the_study_meets_its_constraints_with_less_power_than_fixed_points(tables):
    kept = ("sqgan-street@0.02", "sqgan-street@0.08", "hevc-half@0.04", "hevc@0.16", "hevc@0.32")
    found = study(*(t.take([t.index(name) for name in kept]) for t in tables), slots=1500, goal=0.6, blocks=3)
    adaptive, fixed = found.runs[0], found.runs[1:]
    assert adaptive.name == "adaptive" and len(adaptive.shares) > 1 and fixed
    assert adaptive.delay == pytest.approx(0.98, rel=0.04) and found.delay == pytest.approx(1.0)
    assert found.bound < found.assured < adaptive.power < min(run.power for run in fixed)
    assert 0.58 < adaptive.perf and (adaptive.perf < 0.6 or found.meets(adaptive))
    assert sum(len(q) > 0 for q in adaptive.quarters) >= 2 and sum(adaptive.sent) == pytest.approx(1.0)
    assert adaptive.sent[0] < adaptive.sent[3]  # strong channels carry more
    assert 0 < adaptive.miou < 1 and adaptive.perf_error > 0
    assert found.meets(replace(adaptive, perf=0.6, delay=1.0)) and not found.meets(
        replace(adaptive, perf=0.59, delay=1.0)
    )
    assert all(math.isfinite(run.power) for run in found.runs) and json.dumps(found.to_json())
    assert camera_png(found)[:4] == b"\x89PNG"


def test_assurance_carries_the_goal_over_to_worse_frames(tables):
    """The frames sent lose, on every stretch alike, what the calibration's worst stretch lacks of its mean."""
    cal = tables[0].take([tables[0].index(name) for name in ("hevc@0.08", "hevc-half@0.16")])
    shares = cal.block_shares(3)
    worse = shares.min(0) / shares.mean(0)
    frames = replace(cal, image_perf=cal.image_ceiling[:, None] * (shares.mean(0) * worse))
    by_mean, sure = (study(cal, frames, slots=1600, goal=0.6, blocks=b).runs[0] for b in (0, 3))
    assert by_mean.perf < 0.595 and sure.perf == pytest.approx(0.6, abs=5e-3)
    assert by_mean.power < sure.power


def test_points_are_refused_for_what_they_really_lack(tables):
    cal, frames = tables
    slow = lambda t: replace(t, points=tuple(replace(p, device_cycles=1.2 * CLOCK) for p in t.points))  # noqa: E731
    both = [t.take([t.index("hevc@0.16"), t.index("hevc-half@0.16")]) for t in (cal, frames)]
    mixed = [replace(t, points=(slow(t).points[0], t.points[1])) for t in both]
    found = study(*mixed, slots=400, goal=0.6, blocks=0)
    assert found.skipped["hevc@0.16"] == "takes 1.20 s of a core, and a slot has 1.00 s on all cores"
    # The same device codes both: seconds of a busy machine in one of the tables change nothing.
    found = study(mixed[0], both[1], slots=400, goal=0.6, blocks=0)
    assert "hevc@0.16" in [run.name for run in found.runs]
    with pytest.raises(UsageError, match="no point reaches"):
        study(*both, slots=400, goal=2.0, blocks=0)


def test_the_tables_must_fit(tables):
    val, unseen = (t.relative() for t in tables)
    with pytest.raises(InputError, match="same order"):
        run_camera(camera_scenario(val, goal=0.6), DriftPlusPenalty(), unseen.take([0, 1]), 10)
    with pytest.raises(InputError, match="on both splits"):
        study(tables[0].take([0]), tables[1].take([1]))
    with pytest.raises(InputError, match="single pictures"):
        study(tables[0], replace(tables[1], image_bits=None))
    with pytest.raises(InputError, match="do not make 19"):
        study(*tables)
