"""A sweep gives one table however it was made: killed and resumed, by four processes, or on a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chappe.bench import sweep
from chappe.bench.codecs import open_codec
from chappe.bench.plan import SweepSpec, make_plan
from chappe.bench.pool import appending
from chappe.bench.sweep import run_sweep
from chappe.bench.table import aggregate, cells_to_json, load_rows
from chappe.errors import ChappeError, InputError, MissingDependency, UsageError
from shrink import FILE as SHRINK
from shrink import make_data

TIMES = ("encode_ms", "decode_ms")


def make_spec(data: Path, **changes) -> SweepSpec:
    spec = SweepSpec(str(data), (f"{SHRINK}:plain", f"{SHRINK}:labelled"), ("0.1", "0.8", "2"), ("all",),
                     ("predicted", "true"), taxonomy="street11")  # fmt: skip
    return replace(spec, **changes)


def table(path: Path) -> list[dict]:
    """The cells without times."""
    cells = cells_to_json(aggregate(load_rows(path), resamples=50))
    for cell in cells:
        for part in ("values", "low", "high"):
            cell[part] = {k: v for k, v in cell[part].items() if k not in TIMES}
    return cells


def same_rows(path: Path) -> list[dict]:
    return sorted(({k: v for k, v in r.items() if k != "seconds"} for r in load_rows(path)), key=lambda r: r["key"])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """No LPIPS weights in this process or in those it starts, so that all see the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHAPPE_DATA", raising=False)
        yield tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def data(home):
    return make_data(home / "scenes")


@pytest.fixture(scope="module")
def reference(home, data):
    """One process, never interrupted."""
    return run_sweep(make_spec(data), home / "one", quiet=True)


def test_the_rows_of_a_sweep(reference, data):
    rows = load_rows(reference)
    assert len(rows) == 4 * (1 + 3 + 2 * 3) and len({r["key"] for r in rows}) == len(rows)
    assert {r["codec"] for r in rows} == {"original", "shrink", "shrink-labels"}
    one = next(r for r in rows if r["codec"] == "shrink" and r["reached"])
    assert (one["data"], one["split"], one["protocol"], one["adapter"]) == ("scenes", "all", "none", f"{SHRINK}:plain")
    assert one["instruments"].startswith("judge@") and one["codec_version"] == "shrink 1" and one["format"] == 1
    cells = aggregate(rows, resamples=20)
    assert [c.frames for c in cells if c.point == "0.1"] == [0, 0, 0]
    assert all(c.values["miou:judge"] >= 0 for c in cells if c.point != "0.1")


def test_nothing_is_measured_twice(reference, data, monkeypatch):
    before = reference.read_bytes()
    monkeypatch.setattr(sweep, "measure_unit", lambda *a: pytest.fail("measured again"))
    run_sweep(make_spec(data), reference.parent, quiet=True)
    assert reference.read_bytes() == before


def test_killed_and_resumed(reference, home, data):
    out = home / "killed"
    words = ["evaluate", data, "--codecs", f"{SHRINK}:plain", f"{SHRINK}:labelled", "--bpp", "0.1", "0.8", "2"]
    words += ["--labels", "predicted", "true", "--taxonomy", "street11", "--jobs", "2", "--out", out, "--no-report"]
    process = subprocess.Popen(
        [sys.executable, "-m", "chappe", *map(str, words)],
        env=os.environ | {"SHRINK_SLEEP": "0.1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    path = out / "rows.jsonl"
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        if path.is_file() and path.read_bytes().count(b"\n") >= 5:
            break
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and len(workers) != 1
    done = path.read_bytes().count(b"\n")
    assert 5 <= done < 40
    with open(path, "ab") as file:  # and the last write was torn
        file.write(path.read_bytes()[:200])
    run_sweep(make_spec(data), out, quiet=True)
    assert table(path) == table(reference) and same_rows(path) == same_rows(reference)
    assert path.read_bytes().count(b"\n") == 40
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:  # its workers end by themselves
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def test_four_processes_give_the_same_table(reference, home, data):
    pytest.importorskip("joblib")
    path = run_sweep(make_spec(data), home / "four", jobs=4, quiet=True)
    assert table(path) == table(reference) and same_rows(path) == same_rows(reference)
    plan = replace(make_plan(make_spec(data, limit=2)), spec=make_spec(home / "gone"))
    with pytest.raises(
        InputError, match=r"^all picture s\d, .*gone: is not a folder"
    ):  # in a worker, one sentence here
        run_sweep(plan.spec, home / "fails", jobs=4, plan=plan, quiet=True)


def test_a_cluster_of_processes_gives_the_same_table(reference, home, data):
    distributed = pytest.importorskip("dask.distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        path = run_sweep(make_spec(data), home / "dask", scheduler=cluster.scheduler_address, quiet=True)
    assert table(path) == table(reference) and same_rows(path) == same_rows(reference)


def test_what_changes_a_number_changes_the_key(data, monkeypatch):
    spec = make_spec(data, limit=1)
    plan = make_plan(spec)
    assert plan.keys() == make_plan(spec).keys() and len(plan.keys()) == 10
    monkeypatch.setattr(type(open_codec(f"{SHRINK}:plain")), "version", "shrink 2")
    changed = make_plan(spec)
    assert len(plan.keys() & changed.keys()) == 7  # only the rows of that codec
    assert len({unit.key("2") for unit in plan.units}) == len(plan.units)  # labels count
    assert not plan.keys() & make_plan(replace(spec, protocol="street")).keys()


def test_a_process_that_sees_something_else_is_refused(home, data, monkeypatch):
    plan = make_plan(make_spec(data, limit=1))
    monkeypatch.setattr(type(open_codec(f"{SHRINK}:plain")), "version", "shrink 9")
    with pytest.raises(ChappeError, match=r"s0, shrink: this process has .*'shrink 9'.*planned with .*'shrink 1'"):
        run_sweep(plan.spec, home / "other", plan=plan, quiet=True)


def test_pictures_are_kept_and_made_again_if_lost(home, data):
    spec = make_spec(data, limit=2, pictures=1, labels=("predicted",), points=("0.1", "2"))
    path = run_sweep(spec, home / "kept", quiet=True)
    rows, pictures = path.read_bytes(), home / "kept" / "pictures"
    names = sorted(p.name for p in pictures.iterdir())
    stem = "s0--shrink-labels--predicted--2"
    assert names == sorted([
        "s0.png", "s0.labels.png", "s0--shrink--none--2.png", f"{stem}.png", f"{stem}.labels.png", f"{stem}.tokens.png",
    ])  # fmt: skip
    codec = open_codec(f"{SHRINK}:plain")
    image = np.asarray(Image.open(data / "images" / "s0.png"))
    kept = Image.open(pictures / "s0--shrink--none--2.png")
    assert (np.asarray(kept) == codec.decode(codec.encode(image, bpp=2)).image).all()
    tokens = Image.open(pictures / f"{stem}.tokens.png")
    assert tokens.mode == "1" and np.asarray(tokens).tolist() == (np.arange(32).reshape(4, 8) % 3 == 0).tolist()
    (pictures / f"{stem}.png").unlink()
    run_sweep(spec, home / "kept", quiet=True)
    assert sorted(p.name for p in pictures.iterdir()) == names and path.read_bytes() == rows


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"codecs": ()}, "at least one codec"),
        ({"points": ("0.8", "max")}, "'max' is neither a rate nor an operating point"),
        ({"codecs": (f"{SHRINK}:plain", f"{SHRINK}:Plain")}, "so does another"),
        ({"knobs": ("map",)}, "KEY=VALUE"),
    ],
)
def test_a_wrong_plan_is_one_sentence(data, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_plan(make_spec(data, **changes))


def test_true_labels_need_labels(data):
    with pytest.raises(UsageError, match="leave 'true' out"):
        make_plan(make_spec(data / "images", taxonomy=None))


def test_knobs_go_to_learned_codecs_alone(data):
    plan = make_plan(make_spec(data, limit=1, knobs=("map=near",)))
    assert {(u.title, u.points[0]) for u in plan.units} == {
        ("original", "original"), ("shrink", "0.1"), ("shrink-labels", "0.1,map=near"),
    }  # fmt: skip


def test_two_sweeps_do_not_write_into_one_file(reference, data):
    with appending(reference), pytest.raises(ChappeError, match="another sweep"):
        run_sweep(make_spec(data), reference.parent, quiet=True)


def test_a_file_that_is_not_ours_is_refused(home, data):
    (home / "foreign").mkdir()
    (home / "foreign" / "rows.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    with pytest.raises(InputError, match="line 1 is not a row"):
        run_sweep(make_spec(data), home / "foreign", quiet=True)
    (home / "file").write_text("")
    with pytest.raises(ChappeError, match="cannot be made into a folder"):
        run_sweep(make_spec(data), home / "file", quiet=True)


def test_missing_libraries_are_named(home, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(MissingDependency, match=r"joblib.*chappe\[bench\]"):
        run_sweep(make_spec(data), home / "lacks", jobs=2, quiet=True)
    with pytest.raises(MissingDependency, match=r"dask.*chappe\[bench\]"):
        run_sweep(make_spec(data), home / "lacks", scheduler="tcp://127.0.0.1:1", quiet=True)
