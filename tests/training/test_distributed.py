"""Two processes train one model: different pictures, the same weights after every step."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

SCRIPT = """
import hashlib, os, sys
import numpy as np, torch
from dataclasses import replace
from pathlib import Path
from chappe.systems.sqgan.config import preset
from chappe.systems.sqgan.model import SQGAN
from chappe.systems.sqgan.train import SQGANTask, stage_config
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, train

torch.set_num_threads(1)
rng = np.random.default_rng(1)
frames = Frames([rng.integers(0, 256, (72, 136, 3), dtype=np.uint8) for _ in range(4)],
                [rng.integers(0, 12, (72, 136), dtype=np.uint8) for _ in range(4)])
torch.manual_seed(0)
base = preset("street")
tiny = replace(base.image, encoder=(8, 8, 8), decoder=(8, 8, 8), latent=8, adm_width=8, codes=32)
model = SQGAN(replace(base, image=tiny, map=replace(tiny, head_kernel=1, fine=(), residual=0)))
model.image.quantizer.window = 2  # restarts within the test
config = replace(stage_config("street", "image"), batch=1, size=(64, 128), gan_start=0.0, disc_width=4)
task = SQGANTask(model, config, frames)
train(task, LoopConfig(Path(sys.argv[1]), 4, quiet=True))
digest = hashlib.sha256()
for name, value in model.image.state_dict().items():
    digest.update(value.numpy().tobytes())
print("digest", digest.hexdigest(), torch.distributed.is_initialized())
"""


def test_two_processes_keep_the_same_weights(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    lines = [run.communicate(timeout=200)[0].strip().splitlines()[-1] for run in runs]
    if any(run.returncode for run in runs):
        pytest.fail(f"a process failed: {lines}")
    assert lines[0] == lines[1]
    assert lines[0].endswith("True")
