"""GESCO's channel: noise, power, fast denoising against scipy; the analog links and their honest price."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chappe.errors import RateError, UsageError
from chappe.systems.diffusion.channel import (
    CONDITIONS,
    GESCO_TABLE,
    channel_uses,
    fast_denoise,
    full_image,
    instance_edges,
    noise_sigma,
    plane_sigma,
    send_map,
)


def planes_of(classes: int = 6, present: int = 4) -> np.ndarray:
    labels = np.random.default_rng(3).integers(0, present, (32, 48))
    return (labels == np.arange(classes)[:, None, None]).astype(np.float32)


def test_psnr_is_power_over_variance_and_the_table_is_near_it():
    for psnr in CONDITIONS[:-1]:
        assert 10 * np.log10(1 / noise_sigma(psnr) ** 2) == pytest.approx(psnr)
        assert noise_sigma(psnr, "gesco") == pytest.approx(noise_sigma(psnr), rel=0.6)
    assert noise_sigma(100) == 0 and set(CONDITIONS) < set(GESCO_TABLE)
    with pytest.raises(UsageError, match="no noise for PSNR 7"):
        noise_sigma(7, "gesco")


def test_what_is_sent_has_power_one_and_the_noise_the_stated_psnr():
    planes, rng = planes_of(), np.random.default_rng(0)
    for psnr in (5, 20):
        sigma = noise_sigma(psnr)
        out = send_map(planes, sigma, rng, fds=False)
        assert out.present == (0, 1, 2, 3)
        noise = (out.planes - planes)[:4]
        power = np.square(planes[:4]).mean()  # one-hot over four classes
        assert power == pytest.approx(1 / 4)
        assert 10 * np.log10(power / np.square(noise).mean()) == pytest.approx(psnr, abs=0.15)
        assert noise.std() == pytest.approx(out.sigma, rel=0.02)
        assert np.abs(np.corrcoef(noise.reshape(4, -1)) - np.eye(4)).max() < 0.1  # independent for each plane
        raw = send_map(planes, sigma, rng, fds=False, power="none")
        assert (raw.planes - planes)[:4].std() == pytest.approx(sigma, rel=0.03)
    with pytest.raises(UsageError):
        plane_sigma(1, 1, "twice")


def test_absent_classes_stay_zero_and_kept_ones_are_sent():
    planes = planes_of()
    out = send_map(planes, 0.5, np.random.default_rng(0), keep=(5,))
    assert out.present == (0, 1, 2, 3, 5) and not out.planes[4].any() and out.planes[5].any()
    assert out.real_uses == 5 * 32 * 48
    empty = send_map(planes * 0, 0.5, np.random.default_rng(0))
    assert empty.present == () and empty.real_uses == 0 and not empty.planes.any()


def test_fast_denoising_is_average_then_maximum():
    x = np.random.default_rng(1).standard_normal((3, 17, 23)).astype(np.float32)
    for plane, out in zip(x, fast_denoise(x), strict=True):
        mean = ndimage.uniform_filter(plane.astype(np.float64), 3, mode="constant")
        expected = ndimage.maximum_filter(mean, 3, mode="constant", cval=-np.inf)
        np.testing.assert_allclose(out, expected, atol=1e-6)


def test_fast_denoising_makes_noisy_maps_more_legible():
    labels = np.repeat(np.repeat(np.random.default_rng(2).integers(0, 5, (4, 6)), 8, 0), 8, 1)
    planes = (labels == np.arange(5)[:, None, None]).astype(np.float32)
    right = [(send_map(planes, noise_sigma(1), np.random.default_rng(0), fds=fds).planes.argmax(0) == labels).mean()
             for fds in (False, True)]  # fmt: skip
    assert right[1] > right[0] + 0.1


def test_edges_are_where_a_neighbour_is_another_instance():
    ids = np.random.default_rng(0).integers(0, 3, (7, 9))
    edges = instance_edges(ids)
    for y in range(7):
        for x in range(9):
            near = [ids[v, u] for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)) if 0 <= v < 7 and 0 <= u < 9]
            assert edges[y, x] == any(other != ids[y, x] for other in near)


def test_the_full_image_meets_the_same_noise():
    image = np.full((64, 64, 3), 191, np.uint8)  # 0.498 in [-1, 1]
    noisy = full_image(image, noise_sigma(20), np.random.default_rng(0)).astype(float) / 127.5 - 1
    assert noisy.std() == pytest.approx(0.498 * 0.1, rel=0.05)
    np.testing.assert_array_equal(full_image(image, 0.0, np.random.default_rng(0)), image)


@pytest.fixture
def analog(gesco):
    from chappe.systems.diffusion.config import Sampling
    from chappe.systems.diffusion.link import GescoLink

    return GescoLink(gesco.engine, psnr_db=20, sampling=Sampling("consistency", steps=2, guidance=2))


def test_the_analog_link_says_what_it_costs(analog, scene):
    out = analog.transmit(scene.image, labels=scene.labels, seed=1)
    present = len(set(np.unique(scene.labels)) - {11})
    assert out.channel_uses == channel_uses(present * scene.labels.size, 11 + 16)
    assert out.cbr == pytest.approx(present / 6, rel=0.01) and not out.lost
    assert out.receptions[0].snr_db == 20 and "eq. (1)" in out.receptions[0].text
    assert out.image.shape == scene.image.shape
    known = scene.labels < 11
    assert (out.decoded.labels == scene.labels)[known].mean() > 0.85
    again = analog.transmit(scene.image, labels=scene.labels, seed=1)
    np.testing.assert_array_equal(out.image, again.image)
    assert (analog.transmit(scene.image, labels=scene.labels, seed=2).image != out.image).any()
    with pytest.raises(RateError, match="channel uses a sample"):
        analog.transmit(scene.image, labels=scene.labels, cbr="1/12")


def test_a_worse_channel_is_heard_worse_and_a_rival_can_draw(analog, scene):
    from chappe.systems.diffusion.link import FullImageLink, GescoLink

    paint = lambda labels: np.repeat(labels[..., None] * 20, 3, 2)  # noqa: E731
    rival = GescoLink(analog.engine, rival=paint, fds=False, power="none")
    known = scene.labels < 11
    right = []
    for psnr in (100, 5, 1):
        out = rival.at(psnr).transmit(scene.image, labels=scene.labels)
        np.testing.assert_array_equal(out.image, paint(out.decoded.labels))
        right.append((out.decoded.labels == scene.labels)[known].mean())
    assert right[0] == 1 and right[0] > right[1] > right[2]
    full = FullImageLink(psnr_db=100).transmit(scene.image)
    np.testing.assert_array_equal(full.image, scene.image)
    assert full.cbr == pytest.approx(0.5, rel=0.01)


def test_gesco_digital_takes_far_fewer_channel_uses(analog, gesco, scene):
    from chappe.link import DigitalLink, PictureLink

    link = PictureLink(gesco, DigitalLink("awgn", snr_db=15, modulation="qpsk", rate="1/2", precoder="none"))
    gesco._segment = lambda image: scene.labels
    digital = link.transmit(scene.image, point="max")
    assert not digital.lost
    np.testing.assert_array_equal(digital.decoded.labels, scene.labels)
    heard = analog.transmit(scene.image, labels=scene.labels)
    assert digital.channel_uses < heard.channel_uses / 5


def test_the_command_sends_maps_and_pixels_over_gescos_channel(folder, scene, tmp_path, capsys):
    from chappe.cli import main
    from chappe.image import read_image, write_image

    photo, out = tmp_path / "street.png", tmp_path / "out.png"
    write_image(photo, scene.image)
    assert main(["link", str(photo), "-o", str(out), "--system", "full-image", "--psnr", "5"]) == 0
    said = capsys.readouterr().err
    assert "5 dB" in said and "CBR 0.5" in said and "pixels themselves" in said
    assert read_image(out).shape == scene.image.shape
    weights = ["--weights", str(folder)]
    assert main(["link", str(photo), "-o", str(out), "--system", "gesco-analog", "--psnr", "10", *weights]) == 0
    assert "one plane for each class" in capsys.readouterr().err
    assert main(["link", str(photo), "--psnr", "10"]) == 2
    assert "--psnr is for" in capsys.readouterr().err
    for wrong in (["--bpp", "0.1"], ["--snr", "4"], weights):
        assert main(["link", str(photo), "--system", "full-image", *wrong]) == 2
    assert main(["link", str(photo), "--system", "gesco-analog", "--cbr", "1/100", *weights]) == 1
    assert "channel uses a sample" in capsys.readouterr().err
