"""LPIPS: its definition against a plain re-computation, its gradient, its errors, and published check values."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from chappe.errors import InputError
from chappe.metrics.lpips import SQUEEZE_FILE, VGGLPIPS, SqueezeLPIPS, lpips, lpips_weights_path

DATA = Path(os.environ.get("CHAPPE_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
needs_weights = pytest.mark.skipif(
    not (DATA / "weights" / SQUEEZE_FILE).is_file(), reason=f"{SQUEEZE_FILE} is not in $CHAPPE_DATA/weights"
)
needs_kodak = pytest.mark.skipif(
    not (DATA / "kodak6" / "kodim01.png").is_file(), reason="kodak6/kodim01.png is not in $CHAPPE_DATA"
)


@pytest.fixture
def squeeze_file(tmp_path) -> Path:
    """Random weights in the layout of the real file."""
    torch.manual_seed(0)
    tensors = {}
    for key, value in SqueezeLPIPS().state_dict().items():
        if key.startswith("head"):
            tensors[f"lpips_squeeze_v0.1.lin{key[4:]}.model.1.weight"] = torch.rand_like(value)
        else:
            tensors[key.replace("layers.", "squeezenet1_1.features.")] = value.half()
    save_file(tensors, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def plain_squeeze_lpips(tensors: dict, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The definition again, from the raw tensors: no module, no shared code."""
    from torch.nn.functional import conv2d, max_pool2d, relu

    def weight(name):
        return [tensors[f"squeezenet1_1.features.{name}.{part}"].float() for part in ("weight", "bias")]

    def taps(v):
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[..., None, None]
        v = (v - shift) / scale
        v = relu(conv2d(v, *weight("0"), stride=2))
        kept = [v]
        for index in range(2, 13):
            if index in (2, 5, 8):
                v = max_pool2d(v, 3, 2, ceil_mode=True)
                continue
            s = relu(conv2d(v, *weight(f"{index}.squeeze")))
            one, three = conv2d(s, *weight(f"{index}.expand1x1")), conv2d(s, *weight(f"{index}.expand3x3"), padding=1)
            v = relu(torch.cat([one, three], 1))
            if index in (4, 7, 9, 10, 11, 12):
                kept.append(v)
        return [t / (t.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for t in kept]

    total = 0
    for number, (p, q) in enumerate(zip(taps(x), taps(y), strict=True)):
        head = tensors[f"lpips_squeeze_v0.1.lin{number}.model.1.weight"]
        total = total + conv2d((p - q) ** 2, head).mean((1, 2, 3))
    return total


def test_matches_the_definition(squeeze_file):
    torch.manual_seed(1)
    x, y = torch.rand(2, 2, 3, 33, 50) * 2 - 1
    net = SqueezeLPIPS.from_file(squeeze_file)
    expected = plain_squeeze_lpips(load_file(squeeze_file), x, y)
    torch.testing.assert_close(net(x, y), expected, rtol=1e-4, atol=1e-7)
    assert net(x, y).shape == (2,) and (net(x, y) > 0).all()
    assert (net(x, x) == 0).all()


def test_gradient_reaches_the_first_argument_alone_and_stays_finite(squeeze_file):
    net = SqueezeLPIPS.from_file(squeeze_file)
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    y = torch.rand(1, 3, 32, 32, requires_grad=True)
    net(x, y).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    assert y.grad is None
    assert not any(p.requires_grad for p in net.parameters())
    # Also where every activation of a tap is zero, which makes the naive norm's gradient NaN.
    dead = SqueezeLPIPS.from_file(squeeze_file)
    dead.layers["0"].weight.zero_(), dead.layers["0"].bias.fill_(-1)
    z = torch.zeros(1, 3, 32, 32, requires_grad=True)
    dead(z, y).sum().backward()
    assert z.grad.isfinite().all()


def test_precomputed_target_gives_the_same_distance_and_gradient(squeeze_file):
    net = SqueezeLPIPS.from_file(squeeze_file)
    torch.manual_seed(2)
    x, y = torch.rand(2, 3, 3, 24, 24)
    x.requires_grad_()
    (direct,) = torch.autograd.grad(net(x, y).sum(), x)
    with torch.no_grad():
        target = net.features(y)
    (cached,) = torch.autograd.grad(net.distance(net.features(x), target).sum(), x)
    torch.testing.assert_close(direct, cached)


def test_stays_in_eval_mode_inside_a_training_module(squeeze_file):
    parent = torch.nn.Sequential(SqueezeLPIPS.from_file(squeeze_file))
    parent.train()
    assert not any(m.training for m in parent[0].modules())


def test_images_are_bytes_of_one_size(squeeze_file):
    net = SqueezeLPIPS.from_file(squeeze_file)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    as_tensor = [torch.from_numpy(v).permute(2, 0, 1)[None].float() / 127.5 - 1 for v in (a, b)]
    assert lpips(a, b, net) == pytest.approx(float(net(*as_tensor)[0]), rel=1e-6)
    for bad in (a.astype(np.float32), a[..., 0], a[:16]):
        with pytest.raises(InputError):
            lpips(bad, b, net)


def test_weights_path_and_file_errors_are_one_sentence(tmp_path, monkeypatch, squeeze_file):
    monkeypatch.delenv("CHAPPE_DATA", raising=False)
    with pytest.raises(InputError, match="CHAPPE_DATA is not set"):
        lpips_weights_path()
    monkeypatch.setenv("CHAPPE_DATA", str(tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        lpips_weights_path()
    (tmp_path / "weights").mkdir()
    squeeze_file.rename(tmp_path / "weights" / SQUEEZE_FILE)
    assert lpips_weights_path() == tmp_path / "weights" / SQUEEZE_FILE
    (tmp_path / "junk").write_bytes(b"no tensors here")
    for path in (tmp_path / "junk", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="cannot be read as a safetensors file"):
            SqueezeLPIPS.from_file(path)
    save_file({"other": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(InputError, match=r"squeezenet1_1.features.0.weight|lpips_squeeze"):
        SqueezeLPIPS.from_file(tmp_path / "other")


def test_vgg_takes_two_named_files(tmp_path):
    backbone, heads = tmp_path / "vgg16.safetensors", tmp_path / "vgg_heads.safetensors"
    with pytest.raises(InputError) as error:
        VGGLPIPS.from_files(backbone, heads)
    assert str(backbone) in str(error.value) and str(heads) in str(error.value)
    torch.manual_seed(0)
    state = VGGLPIPS().state_dict()
    assert sum(v.numel() for k, v in state.items() if k.startswith("layers")) == 14_714_688  # torchvision's features
    save_file({k.replace("layers.", "features."): v for k, v in state.items() if "layers" in k}, backbone)
    save_file({f"lin{n}.model.1.weight": torch.rand(1, c, 1, 1) for n, c in enumerate((64, 128, 256, 512, 512))}, heads)
    net = VGGLPIPS.from_files(backbone, heads)
    x = torch.rand(1, 3, 32, 32)
    assert [tuple(f.shape[1:3]) for f in net.features(x)] == [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    assert net(x, x) == 0 < net(x, -x)


def test_metrics_package_imports_no_torch():
    code = "import sys, chappe.metrics as m; m.psnr; m.miou; assert 'torch' not in sys.modules, 'torch was imported'"
    source = Path(sys.modules["chappe.metrics"].__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


@needs_weights
@needs_kodak
def test_published_check_values_on_kodak_01():
    from PIL import Image

    net = SqueezeLPIPS.from_file(DATA / "weights" / SQUEEZE_FILE)
    picture = Image.open(DATA / "kodak6" / "kodim01.png").convert("RGB")
    for quality, expected in [(90, 0.010), (50, 0.066), (20, 0.175), (5, 0.418)]:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        assert lpips(np.asarray(picture), np.asarray(Image.open(buffer)), net) == pytest.approx(expected, abs=2e-3)
