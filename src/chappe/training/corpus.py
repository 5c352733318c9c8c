"""What the bundled models are trained on: real frames from a data set folder, and procedural scenes."""

from __future__ import annotations

from pathlib import Path

from chappe.training.frames import Frames

__all__ = ["load_frames", "load_scenes"]


def load_frames(root: Path) -> Frames:
    """Every labelled frame of split `train` under `root`, or of a packed file (`chappe.training.pack`)."""
    if Path(root).is_file():
        from chappe.training.pack import read_pack

        return read_pack(root)
    from chappe.data import open_dataset

    return Frames.from_samples(open_dataset(root, split="train"))


def load_scenes(count: int, first_seed: int = 1_000, size: tuple[int, int] = (360, 480)) -> Frames:
    """`count` procedural scenes with seeds from `first_seed` (the tests and the demo use seeds below 1000)."""
    from chappe.data.scenes import render_scene

    return Frames.from_samples(render_scene(seed, size=size) for seed in range(first_seed, first_seed + count))
