"""kill -9 and resume give the same bits as a run that was left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

SCRIPT = """
import os, signal, sys
import numpy as np, torch
from dataclasses import replace
from pathlib import Path
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, train

kind, out, kill_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
rng = np.random.default_rng(1)
frames = Frames([rng.integers(0, 256, (72, 136, 3), dtype=np.uint8) for _ in range(4)],
                [np.repeat(np.repeat(rng.integers(0, 12, (9, 17), dtype=np.uint8), 8, 0), 8, 1) for _ in range(4)])
if kind == "segmenter":
    from chappe.segment.model import SegConfig
    from chappe.segment.train import SegmenterTask
    task = SegmenterTask(frames, config=SegConfig(widths=(8, 8, 8, 8), decoder=(8, 8, 8)), batch=2, size=(64, 128))
elif kind == "onepass":
    from chappe.systems.spic.config import OnePassConfig
    from chappe.systems.spic.onepass import OnePass
    from chappe.systems.spic.train import OnePassTask, TrainConfig
    torch.manual_seed(0)
    model = OnePass(OnePassConfig(encoder=(8, 8, 8), decoder=(8, 8, 8), half=4))
    config = TrainConfig(size=(64, 128), quality=(20, 40))
    task = OnePassTask(model, config, frames, segment=lambda x: x.repeat(1, 4, 1, 1)[:, :11])
else:
    from chappe.systems.sqgan.config import preset
    from chappe.systems.sqgan.model import SQGAN
    from chappe.systems.sqgan.train import SQGANTask, stage_config
    torch.manual_seed(0)
    base = preset("street")
    tiny = replace(base.image, encoder=(8, 8, 8), decoder=(8, 8, 8), latent=8, adm_width=8, codes=32, residual=32)
    model = SQGAN(replace(base, image=tiny, map=replace(tiny, head_kernel=1, fine=(), residual=0)))
if kind == "receiver":
    from chappe.systems.sqgan.receiver import ReceiverConfig, ReceiverTask
    task = ReceiverTask(model, ReceiverConfig(size=(64, 128)), frames, segment=lambda x: x.repeat(1, 4, 1, 1)[:, :11])
elif kind in ("map", "image", "finetune"):
    config = replace(stage_config("street", kind), batch=2, size=(64, 128), gan_start=0.0, disc_width=4)
    segment = lambda x: x.repeat(1, 4, 1, 1)[:, :11]
    task = SQGANTask(model, config, frames, segment=segment)
step = task.step
def killing(k, progress, rng):
    if k == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(k, progress, rng)
task.step = killing
train(task, LoopConfig(out, 6, save_every_s=0, quiet=True))
"""


def _run(kind: str, out, kill_at: int) -> int:
    return subprocess.run([sys.executable, "-c", SCRIPT, kind, str(out), str(kill_at)], timeout=300).returncode


def _same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("kind", ["segmenter", "map", "finetune", "receiver", "onepass"])
def test_killed_and_resumed_is_bit_identical(tmp_path, kind):
    assert _run(kind, tmp_path / "whole", -1) == 0
    assert _run(kind, tmp_path / "killed", 3) == -9
    assert torch.load(tmp_path / "killed/state.pt", weights_only=True)["step"] == 3
    assert _run(kind, tmp_path / "killed", -1) == 0
    whole, resumed = (torch.load(tmp_path / k / "state.pt", weights_only=True) for k in ("whole", "killed"))
    for key in ("step", "modules", "ema", "optimizers"):
        assert _same(whole[key], resumed[key]), key
    assert whole["step"] == 6
