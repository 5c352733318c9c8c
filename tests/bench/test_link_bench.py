"""The link benchmark: units that resume, cells with paired intervals, deltas of known curves, files, the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from chappe.bench import link_bench, link_schemes
from chappe.bench.link_bench import LinkSpec, Measure, load_units, make_plan, measure_picture, run_bench, seeds_of
from chappe.bench.link_plot import link_png
from chappe.bench.link_schemes import SCHEMES, FlatLink
from chappe.bench.link_table import aggregate, cells_to_json, deltas, markdown
from chappe.bench.protocol import Frame
from chappe.cli import main
from chappe.data.scenes import render_scene
from chappe.errors import ChappeError, InputError, UsageError
from chappe.image import write_image

PLAIN, OTHER = "hevc, water-filling", "hevc, min-MSE + DFT"
POINTS = ((2.0, 0.02), (6.0, 0.02), (6.0, 0.04), (6.0, 1 / 12), (6.0, 1 / 6), (2.0, 1 / 12))


def judge(image: np.ndarray) -> np.ndarray:
    return (image.mean(2) // 24).astype(np.uint8)


def unit(picture: str, scheme: str, quality, share: float = 1.0, points=POINTS) -> dict:
    """A unit whose figures rise with the logarithm of the CBR."""
    rows, views = [], []
    for snr, cbr in points:
        value = quality + 10 * np.log10(cbr / 0.02)
        right = int(500 + 40 * value)
        confusion = np.zeros((12, 12), int)
        confusion[0, 0], confusion[1, 0] = right, 2000 - right
        rows.append(
            {
                "snr_db": snr,
                "cbr_wanted": cbr,
                "seed": 1,
                "reached": True,
                "rate": "1/2",
                "bytes": 100,
                "channel_uses": round(1e5 * cbr * share),
                "cbr": cbr * share,
                "lost": False,
                "view": len(views),
            }
        )
        views.append({"psnr": value, "ms_ssim": 0.5, "confusion": confusion.tolist()})  # fmt: skip
    return {"key": picture + scheme, "picture": picture, "scheme": scheme, "rows": rows, "views": views}


@pytest.fixture
def cells():
    units = [unit(f"p{k}", PLAIN, 20 + k % 3) for k in range(8)] + [
        unit(f"p{k}", OTHER, 20 + k % 3, 0.7) for k in range(8)
    ]
    return aggregate(units, resamples=100)


def test_equal_curves_at_fewer_uses_have_their_delta(cells):
    found = deltas(cells, resamples=50)
    assert [(d.scheme, d.against, d.snr_db, d.metric) for d in found] == [
        (OTHER, PLAIN, 6.0, "miou"), (OTHER, PLAIN, 6.0, "psnr")
    ]  # fmt: skip
    for delta in found:  # the pictures differ, the schemes do not: a paired interval has no width
        assert (delta.value, delta.low, delta.high) == pytest.approx((-30, -30, -30), abs=0.01)
        assert delta.overlap == pytest.approx(1) and delta.without == 0 and delta.note == ""


def test_cells_hold_means_and_paired_differences(cells):
    cell = next(c for c in cells if (c.scheme, c.snr_db, c.cbr_wanted) == (OTHER, 2.0, 0.02))
    assert cell.values["psnr"] == pytest.approx(20 + np.mean([k % 3 for k in range(8)]))
    assert cell.low["psnr"] < cell.values["psnr"] < cell.high["psnr"] and cell.values["lost"] == 0
    assert cell.gain[PLAIN]["psnr"] == (0, 0, 0) and cell.values["cbr"] == pytest.approx(0.014)
    assert json.loads(json.dumps(cells_to_json(cells)))[0]["values"]["rate"] == 0.5
    again = aggregate([unit(f"p{k}", PLAIN, 20 + k % 3) for k in reversed(range(8))], resamples=100)
    assert [c.low for c in again] == [c.low for c in cells if c.scheme == PLAIN]


def test_curves_that_do_not_meet_say_so():
    units = [unit(f"p{k}", PLAIN, 5.0) for k in range(3)] + [unit(f"p{k}", OTHER, 25.0) for k in range(3)]
    found = deltas(aggregate(units, resamples=20), resamples=20)
    assert all(d.value is None and d.note == "no overlap: every point lies above" for d in found)
    single = [unit("p", PLAIN, 5.0), unit("p", OTHER, 5.0, points=POINTS[:2])]
    assert {d.note for d in deltas(aggregate(single, resamples=20))} == {"too few points"}
    partly = [unit("p", PLAIN, 5.0), unit("q", PLAIN, 5.0), unit("p", OTHER, 5.0), unit("q", OTHER, 4.5)]
    partly[3]["rows"][0] = {"snr_db": 2.0, "cbr_wanted": 0.02, "seed": 1, "reached": False}
    cells = aggregate(partly, resamples=20)
    empty = next(c for c in cells if not c.values)
    assert (empty.pictures, empty.of, empty.scheme) == (1, 2, OTHER) and "no file (1 of 2)" in markdown(cells, [], {})
    with pytest.raises(InputError, match="no units"):
        aggregate([])


def test_the_tables_and_the_plot(cells):
    text = markdown(cells, deltas(cells, resamples=20), {"ADJSCC": "no weights"})
    assert "-30.0 [-30.0, -30.0]" in text and "- ADJSCC: no weights" in text and "PSNR (dB) 2 dB" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    assert link_png(cells, title="t")[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="no curve"):
        link_png([replace(cell, scheme="unknown") for cell in cells])


def test_measures_of_equal_pixels_are_taken_once():
    seen = []
    measure = Measure(lambda image: (seen.append(1), judge(image))[1])
    image = render_scene(1, size=(64, 128)).image
    far = FlatLink("mean colour").transmit(image)
    assert measure(image, far) is measure(image, FlatLink("mean colour").transmit(image))
    assert len(seen) == 2  # the original, for want of a truth, and what arrived
    original = measure(image, FlatLink("original").transmit(image))
    assert original["psnr"] == 100 and original["ms_ssim"] == pytest.approx(1)
    off = original["confusion"].sum() - np.trace(original["confusion"])
    assert off == 0 and far.channel_uses == 0 and far.cbr == 0


def test_fades_belong_to_the_picture():
    assert seeds_of("a", 3)[:2] == seeds_of("a", 2) and not set(seeds_of("a", 9)) & set(seeds_of("b", 9))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two pictures, few points, and a quick judge."""
    (tmp_path / "data").mkdir()
    for k in range(2):
        write_image(tmp_path / "data" / f"{k}.png", render_scene(k, size=(64, 128)).image)
    monkeypatch.setattr(link_bench, "GRIDS", ((("0.04", "1/12"), (6.0, 10.0), lambda scheme: not scheme.rated),))
    monkeypatch.setattr("chappe.segment.builtin.load_judge", lambda: judge)
    return tmp_path


SHORT = ("jpeg, water-filling", "jpeg, no precoder, ML", "mean colour", "mid-grey")


def test_runs_go_on_where_they_were(folder, monkeypatch):
    spec = LinkSpec(str(folder / "data"), "all", SHORT[:1])
    plan = make_plan(spec)
    first = run_bench(plan, folder / "out", quiet=True)
    path = folder / "out" / "units.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"key": "torn')
    measured = []
    real = link_bench.measure_picture
    monkeypatch.setattr(
        link_bench, "measure_picture", lambda f, s, *a: (measured.append((f.name, s)), real(f, s, *a))[1]
    )
    wider = make_plan(replace(spec, schemes=SHORT[:3]))
    units = run_bench(wider, folder / "out", quiet=True)
    assert measured == [(str(k), SHORT[1:3]) for k in range(2)] and len(units) == 6
    assert [u for u in units if u["scheme"] == SHORT[0]] == first
    assert run_bench(wider, folder / "out", quiet=True) == units and len(measured) == 2
    assert not set(make_plan(replace(spec, fades=2)).keys.values()) & set(plan.keys.values())
    path.write_bytes(b"{}\n")
    with pytest.raises(ChappeError, match="line 1 is no unit"):
        load_units(path)


def test_all_schemes_meet_the_same_fades(folder):
    scene = render_scene(1, size=(64, 128))
    rows = measure_picture(Frame("s", scene.image, scene.labels, "street11"), SHORT, 2, judge)
    assert {name: len(part) for name, part in rows.items()} == dict.fromkeys(SHORT, 8)
    assert all({r["seed"] for r in part} == set(seeds_of("s", 2)) for part in rows.values())
    assert all(row["channel_uses"] == 0 and not row["lost"] for row in rows["mid-grey"])


def test_what_is_not_here_is_said(folder, monkeypatch):
    monkeypatch.setattr(
        link_schemes, "bundled", lambda name: (_ for _ in ()).throw(UsageError(f"no weights of {name}"))
    )
    plan = make_plan(LinkSpec(str(folder / "data"), "all", ("mid-*", "ADJSCC", "SCSC w/o QA, jpeg")))
    assert plan.missing == {"ADJSCC": "no weights of adjscc", "SCSC w/o QA, jpeg": "no weights of scsc-noqa"}
    with pytest.raises(UsageError, match="no scheme 'telepathy'"):
        make_plan(LinkSpec(str(folder / "data"), "all", ("telepathy",)))


def test_the_schemes_are_all_there():
    assert {PLAIN, "jpeg2000, no precoder, ML", "hevc, mutual information, ML", "SCSC w/o QA, jpeg", "ADJSCC",
            "sqgan-street 0.04 bpp, adapted", "mean colour", "original"} <= SCHEMES.keys()  # fmt: skip
    assert all(other in SCHEMES for scheme in SCHEMES.values() for other in scheme.against)


def test_the_command(folder, capsys):
    out = folder / "bench"
    assert main(["link-bench", str(folder / "data"), "--schemes", *SHORT, "--out", str(out), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "| jpeg, water-filling |" in told and (out / "table.md").read_text() == told
    results = json.loads((out / "results.json").read_text())
    assert results["command"].startswith("chappe link-bench data --schemes 'jpeg, water-filling'")
    assert len(results["cells"]) == 4 * 4 and results["pictures"] == ["0", "1"]
