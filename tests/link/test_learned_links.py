"""Learned links: what is sent, what is counted, training that resumes to the same bits, folders, and the command."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from chappe.cli import link as command
from chappe.errors import ChappeError, InputError, RateError, UsageError
from chappe.image import read_image, write_image
from chappe.link import ChannelSpec, DigitalLink, PictureLink
from chappe.link.learned import load_folder, save_folder
from chappe.link.learned.analog import JsccLink, over_air
from chappe.link.learned.config import JsccConfig, MutualConfig, PcenConfig, PpenConfig
from chappe.link.learned.enhanced import EnhancedLink
from chappe.link.learned.jscc import JsccNet, pack
from chappe.link.learned.pcen import PCEN
from chappe.link.learned.ppen import PPEN
from chappe.link.learned.scsc import ScscLink, strength_of
from chappe.link.learned.train import main
from chappe.link.precoding import precoder

IMAGE = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8).repeat(8, 0).repeat(8, 1)[:45, :70]
TINY = JsccConfig(symbols=8, widths=(4, 6, 8, 8))
TINY_VIT = JsccConfig(body="vit", symbols=8, dim=8, heads=2, depth=1, window=(2, 4), head=(6, 4, 4))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [TINY, TINY_VIT])
@pytest.mark.parametrize("channel", ["rayleigh2x2", "awgn", "tdl-a2x2", "rician4x2"])
def test_symbols_are_counted_and_fit(shape, channel):
    link = JsccLink("adjscc", JsccNet(shape), DigitalLink(channel, 12.0))
    out = link.transmit(IMAGE, cbr="1/100", seed=3)
    streams = {"awgn": 1}.get(channel, 2)
    assert out.image.shape == IMAGE.shape and not out.lost and "SNR = P/sigma^2" in out.receptions[0].text
    assert out.channel_uses == link.count(45, 70, "1/100") // streams * (6 * 10 // 2) <= 45 * 70 * 3 / 100
    assert out.cbr == pytest.approx(out.channel_uses / (3 * 45 * 70)) and out.resources.shape == (6, 10)
    again, other = link.transmit(IMAGE, cbr="1/100", seed=3), link.transmit(IMAGE, cbr="1/100", seed=4)
    assert np.array_equal(out.image, again.image) and not np.array_equal(out.image, other.image)
    assert link.transmit(IMAGE).channel_uses > out.channel_uses
    with pytest.raises(RateError, match="at least"):
        link.transmit(IMAGE, cbr=0.001)


@pytest.mark.parametrize("antennas", [(1, 1), (2, 2), (4, 2)])
def test_every_block_sends_its_power(antennas):
    net = JsccNet(TINY)
    symbols = net.encode(torch.rand(5, 3, 32, 32) * 2 - 1, torch.zeros(5, 5), 4)
    x = pack(symbols, min(antennas))
    h = torch.randn(5, antennas[1], antennas[0], dtype=torch.complex64)
    sigma2 = torch.full((5,), 0.1)
    g = precoder("svd-equal", h, sigma2)
    z, _, _ = over_air(x, g, h, h @ g, sigma2)
    torch.testing.assert_close(z.abs().square().mean((1, 2)), torch.ones(5), atol=1e-4, rtol=1e-4)


def test_all_systems_meet_the_same_fades():
    radio = DigitalLink(ChannelSpec("rayleigh", 2, 2, fade_every=10), 9.0)
    seen = []
    original = DigitalLink.response

    class Spy(DigitalLink):
        def response(self, uses, seed):
            seen.append(original(self, uses, seed)[0])
            return original(self, uses, seed)

    spy = Spy(**{f: getattr(radio, f) for f in DigitalLink.__dataclass_fields__})
    JsccLink("adjscc", JsccNet(TINY), spy).transmit(IMAGE, cbr="1/20", seed=5)
    spy.send(bytes(range(100)), seed=5)
    count = min(map(len, seen))
    assert len(seen) == 2 and torch.equal(seen[0][: count - 4], seen[1][: count - 4]) and count > 8


def test_scsc_untrained_is_the_digital_link():
    link = DigitalLink("rayleigh2x2", 12.0)
    plain = PictureLink("jpeg", link).transmit(IMAGE, cbr="1/2", seed=1)
    ours = ScscLink("jpeg", link, PPEN(PpenConfig(widths=(4, 6)))).transmit(IMAGE, cbr="1/2", seed=1)
    assert np.array_equal(plain.image, ours.image) and plain.channel_uses == ours.channel_uses
    assert ours.resources.sum() == pytest.approx(8 * ours.sent_bytes, rel=0.01)
    assert ScscLink("jpeg", replace(link, snr_db=-20.0)).transmit(IMAGE, bpp=2.0).lost
    adapted = ScscLink("jpeg", replace(link, snr_db=-3.0), adapt=True).transmit(IMAGE, bpp=2.0)
    assert not adapted.lost and adapted.link.rate < 0.5
    with pytest.raises(UsageError, match="one of"):
        ScscLink("jpeg", link).transmit(IMAGE, cbr="1/2", bpp=1.0)


def test_strength_of_a_codec():
    from chappe import classical

    jpeg = classical.load("jpeg")
    assert strength_of(jpeg, 1) == 1 and strength_of(jpeg, 95) == 0 and 0.4 < strength_of(jpeg, 48) < 0.6
    with pytest.raises(UsageError, match="standard codecs"):
        strength_of(object.__new__(type("C", (), {"name": "sqgan"})), 3)


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["link", *map(str, words)])
    return args.run(args)


def folder_of(path, system, **parts):
    save_folder(path, system, parts, codec="jpeg", mcs="qpsk-1/2")
    return path


def test_folders_keep_what_they_hold(tmp_path):
    net = JsccNet(TINY).half().float()
    folder = folder_of(tmp_path / "a", "adjscc", net=net)
    radio = DigitalLink("rayleigh2x2", 4.0)
    ours = load_folder(folder, radio).transmit(IMAGE, cbr="1/20")
    assert np.array_equal(ours.image, JsccLink("adjscc", net, radio).transmit(IMAGE, cbr="1/20").image)
    scsc = folder_of(tmp_path / "s", "scsc", ppen=PPEN(PpenConfig(widths=(4,))), pcen=PCEN(PcenConfig(rounds=2)))
    whole, bare = load_folder(scsc, radio), load_folder(scsc, radio, without=("ppen", "pcen"), codec="webp")
    assert whole.ppen is not None and whole.link.enhancer is not None and whole.codec.name == "jpeg"
    assert bare.ppen is None and type(bare.link) is DigitalLink and bare.codec.name == "webp"
    proxy = folder_of(tmp_path / "p", "proxynet", net=net, pcen=PCEN(), ppen=PPEN(PpenConfig(widths=(4,))))
    assert load_folder(proxy, radio).transmit(IMAGE, cbr="1/20").cbr <= 0.05
    with pytest.raises(UsageError, match="2x2 antennas"):
        load_folder(proxy, DigitalLink("rayleigh4x4"))
    with pytest.raises(UsageError, match="leaves out"):
        load_folder(scsc, without=("qa",))


@pytest.mark.parametrize("damage", ["system", "parts", "shape", "missing", "json"])
def test_folders_that_are_no_links(tmp_path, damage):
    folder = folder_of(tmp_path / "a", "adjscc", net=JsccNet(TINY))
    path = folder / "config.json"
    meta = json.loads(path.read_text())
    if damage == "system":
        meta["config"]["system"] = "telepathy"
    elif damage == "parts":
        meta["config"]["parts"]["mind"] = {}
    elif damage == "shape":
        meta["config"]["parts"]["net"]["widths"] = [4, 6, 8, 9]
    elif damage == "missing":
        del meta["config"]["parts"]
    path.write_text("{" if damage == "json" else json.dumps(meta))
    with pytest.raises(InputError, match=r"train again|chappe train link"):
        load_folder(folder)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=4) | st.just("mmse"),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.sampled_from(["ppen", "pcen", "net", "mutual"]), which=st.integers(0, 30), value=ANY)
def test_any_shape_is_a_link_or_an_error(tmp_path, part, which, value):
    kinds = {"ppen": PpenConfig(widths=(4,)), "pcen": PcenConfig(rounds=2), "net": TINY, "mutual": MutualConfig()}
    shape = kinds[part].to_dict()
    shape[sorted(shape)[which % len(shape)]] = value
    (tmp_path / "config.json").write_text(
        json.dumps({"config": {"kind": "link", "system": "scsc", "parts": {part: shape}}})
    )
    (tmp_path / "model.safetensors").write_bytes(save({}))
    with pytest.raises(ChappeError):  # there are no arrays
        load_folder(tmp_path)


SHORT = ["--scenes", "2", "--size", "32", "64", "--batch", "2", "--task-weight", "0"]


def shrunk(monkeypatch):
    from chappe.link.learned import train as module

    tiny = {("adjscc", "street"): TINY, ("deepjscc-mimo", "street"): TINY_VIT, ("proxy", "street"): TINY}
    monkeypatch.setattr(module, "JSCC_PRESETS", tiny)
    monkeypatch.setattr(module, "PPEN_PRESETS", {"street": PpenConfig(widths=(4, 6))})


@pytest.mark.parametrize("system", ["adjscc", "deepjscc-mimo", "proxynet"])
def test_recipes_end_in_folders(system, tmp_path, monkeypatch):
    shrunk(monkeypatch)
    assert main(["--system", system, "--out", str(tmp_path), "--steps", "2", *SHORT]) == 0
    link = load_folder(tmp_path / "weights")
    assert link.name == system and not link.transmit(IMAGE, cbr="1/20").lost
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["mse"] > 0


@pytest.mark.parametrize("gradient", ["proxy", "around"])
def test_scsc_trains_through_the_codec_and_resumes_exactly(gradient, tmp_path, monkeypatch):
    """The proxy's phase, the joint one and the full chain (each third step here), in one go and stopped on the way."""
    from chappe.link.learned.joint import JointConfig
    from chappe.training import loop

    shrunk(monkeypatch)
    torch.set_num_threads(1)
    monkeypatch.setattr("chappe.segment.builtin.load_segmenter", lambda: pytest.fail("no task loss was asked for"))
    monkeypatch.setattr(JointConfig.__init__, "__defaults__", ("svd-minmse+dft", 0.3, 3, None, False, gradient, 1))
    whole, send_over = [], EnhancedLink.send_over
    monkeypatch.setattr(EnhancedLink, "send_over", lambda *a, **k: (whole.append(1), send_over(*a, **k))[1])
    base = ["--system", "scsc", "--gradient", gradient, *SHORT]
    assert main([*base, "--out", str(tmp_path / "a"), "--steps", "6"]) == 0
    assert len(whole) == 4  # two pictures at two of six steps
    assert main([*base, "--out", str(tmp_path / "b"), "--steps", "6", "--minutes", "0"]) == 0  # after one step
    assert not (tmp_path / "b" / "weights").exists()
    assert main([*base, "--out", str(tmp_path / "b"), "--steps", "6"]) == 0
    first, second = (loop.ema_state(tmp_path / k) for k in "ab")
    assert first.keys() == {"ppen", "pcen"}
    for name, state in first.items():
        assert all(torch.equal(value, second[name][key]) for key, value in state.items())
    moved = first["ppen"]["out.weight"].abs().sum()
    assert 0 < moved < 1
    row = json.loads((tmp_path / "a" / "log.jsonl").read_text().splitlines()[-1])
    assert row["bpp"] > 0 and row["pcen"] > 0 and ("proxy" in row) == (gradient == "proxy")
    out = load_folder(tmp_path / "a" / "weights", DigitalLink("rayleigh2x2", 15.0)).transmit(IMAGE, cbr="1/2")
    assert not out.lost and out.image.shape == IMAGE.shape


def test_bits_cost_what_the_codec_itself_pays_for_them():
    """A codec whose error is a + b exp(-ln bits) has the price b / bits, whatever it codes."""
    from chappe.link.adaptation import parse_mcs
    from chappe.link.learned.joint import JointConfig, ScscTask
    from chappe.link.learned.recipes import LinkRecipe
    from chappe.training.frames import Frames
    from chappe.training.street import StreetBatches

    class Graded(ScscTask):
        def _coded(self, x, quality):
            error = torch.tensor([100.0 / q for q in quality]).sqrt()[:, None, None, None]
            return [bytes(int(q)) for q in quality], x + error

    recipe = LinkRecipe(size=(32, 64), batch=2, mse_weight=1.0)
    batches = StreetBatches(Frames([IMAGE], [np.zeros(IMAGE.shape[:2], np.uint8)]), 2, 11, recipe.size)
    qualities = tuple(round(100 * 1.05**k) for k in range(12))
    joint = JointConfig(qualities, parse_mcs("qpsk-1/2"), price_batches=2)
    task = Graded({"ppen": PPEN(PpenConfig(widths=(4,)))}, None, recipe, joint, batches)
    task.prepare(argparse.Namespace(device=torch.device("cpu")))
    for quality in qualities[1:-1]:
        assert task.prices[quality] == pytest.approx(100 / quality, rel=0.01)


def test_a_precoder_alone_needs_no_pictures(tmp_path):
    words = ["--system", "scsc", "--no-ppen", "--steps", "2", "--scenes", "0"]
    for enhancer in ("pcen", "mutual"):
        assert main([*words, "--enhancer", enhancer, "--out", str(tmp_path / enhancer)]) == 0
        link = load_folder(tmp_path / enhancer / "weights", DigitalLink("rayleigh2x2", 20.0, detector="ml"))
        assert not link.transmit(IMAGE, bpp=2.0).lost and link.ppen is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--system", "scsc", "--no-ppen", "--enhancer", "none"], "nothing to train"),
        (["--system", "adjscc", "--size", "33", "64"], "multiples of 16"),
        (["--system", "adjscc", "--scenes", "0"], "Give --data"),
    ],
)
def test_wrong_recipes_are_one_sentence(words, text, tmp_path):
    with pytest.raises(UsageError, match=text):
        main([*words, "--out", str(tmp_path)])


def test_the_command(tmp_path, capsys):
    photo, out, figure = tmp_path / "in.png", tmp_path / "out.png", tmp_path / "f.png"
    write_image(photo, IMAGE)
    adjscc = folder_of(tmp_path / "a", "adjscc", net=JsccNet(TINY))
    scsc = folder_of(tmp_path / "s", "scsc", ppen=PPEN(PpenConfig(widths=(4,))), pcen=PCEN(PcenConfig(rounds=2)))
    words = ["--system", "adjscc", "--weights", adjscc, "--cbr", "1/20", "--snr", 3]
    assert call(photo, "-o", out, *words, "--figure", figure) == 0
    told = capsys.readouterr().err
    assert "never lost" in told and "CBR 0.0" in told and read_image(out).shape == IMAGE.shape
    words = ["--system", "scsc", "--weights", scsc, "--snr", 25, "--cbr", "1/2", "--without", "pcen"]
    assert call(photo, "-o", out, *words, "--figure", figure) == 0
    assert "jpeg" in capsys.readouterr().err and figure.read_bytes()[:4] == b"\x89PNG"
    for wrong, text in (
        (["--weights", scsc], "learned links"),
        (["--system", "scsc", "--weights", adjscc], "holds adjscc"),
        (["--system", "adjscc", "--weights", adjscc, "--bpp", "1"], "makes no file"),
        (["--system", "adjscc", "--weights", adjscc, "--slices", "2"], "--slices"),
        (["--system", "adjscc", "--weights", tmp_path], "config.json"),
    ):
        with pytest.raises(ChappeError, match=text):
            call(photo, *wrong)
    assert call(photo, "-o", out, "--system", "adjscc", "--cbr", "1/20") == 0  # the bundled weights


def test_the_bundled_precoder_beats_the_best_closed_form():
    from chappe.link.learned.store import BUNDLED

    payload = bytes(range(240))
    lost = {}
    for name in ("bundled", "none"):
        if name == "bundled":
            link = load_folder(BUNDLED["mutual"], DigitalLink("rayleigh2x2", snr_db=2, detector="ml")).link
        else:
            link = DigitalLink("rayleigh2x2", snr_db=2, precoder="none", detector="ml")
        lost[name] = sum(not link.send(payload, seed=seed).ok for seed in range(60))
    assert lost["bundled"] < lost["none"]
