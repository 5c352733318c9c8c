"""What each part of SQ-GAN's image pipeline is worth: one part left out at a time, trained anew for equal steps.

    python tools/ablation.py --data DIR --out RUNS [--steps 600] [--variants full no-sempe ...] [--every 2]

Each variant starts from the same seed, sees the same batches (128x256 pixels at the codec's own scale) and the street
recipe with true maps; the discriminator comes in after half of the steps. Then val and unseen frames go through it at
256x512 with true maps at two masking fractions, so that all variants send the same number of tokens: judge mIoU, the
mean IoU of signs, people and cyclists, LPIPS, PSNR, the tokens' bytes in the mixed code (no trained start) and, paired
over pictures, 95 % intervals of the difference from the whole. Runs resume; a finished variant is not trained again.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from chappe.bench.protocol import frames
from chappe.bitstream.tokenmix import cell_classes, encode_tokens
from chappe.metrics import confusion, miou, per_class_iou
from chappe.metrics.bootstrap import interval, interval_of_sums
from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
from chappe.metrics.pixel import psnr
from chappe.nn.run import from_bytes, to_bytes
from chappe.segment.builtin import load_judge
from chappe.systems.sqgan.config import preset
from chappe.systems.sqgan.model import SQGAN
from chappe.systems.sqgan.train import SQGANTask, TrainConfig, stage_config
from chappe.training.corpus import load_frames, load_scenes
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, train
from chappe.training.street import StreetBatches, load_perceptual, load_teacher

VARIANTS = {
    "full": ("the whole", {}, {}),
    "no-samm-spade": ("without SPADE in SAMM", {"samm_spade": False}, {}),
    "no-sempe": ("without SemPE", {"sempe": False}, {}),
    # its one weight is the mean of the others over the pixels of the training frames: the same strength of the term
    "no-class-weights": ("without class weights", {}, {"image_relevance": None}),
    "no-semantic-disc": ("without the semantic-aware discriminator", {}, {"residual_relevance": ""}),
    "no-paste": ("without paste augmentation", {}, {"paste_most": 0}),
}
VOID, CLASSES, RARE = 11, 12, (6, 9, 10)  # signs, people, cyclists
FRACTIONS = (0.2, 0.5)


def flat(profile: str, data: Frames) -> str:
    """A profile with one weight for all classes: the mean of `profile` over the pixels of `data`."""
    from chappe.taxonomy import relevance

    counts = sum(np.bincount(labels.ravel(), minlength=CLASSES)[:CLASSES] for labels in data.labels)
    return f"rest={float(counts @ relevance(profile, 'street11') / counts.sum()):.4f}"


def trained(name: str, data: Frames, scenes: Frames, out: Path, steps: int, seed: int) -> SQGAN | None:
    """A variant after its steps; None if it was stopped before."""
    _, shape, recipe = VARIANTS[name]
    base: TrainConfig = stage_config("street", "image")
    recipe = {k: flat(base.image_relevance, data) if v is None else v for k, v in recipe.items()}
    config = replace(base, size=(128, 256), batch=4, lr=5e-4, warmup=50, gan_start=0.5, meaning_weight=0.25,
                     seed=seed, **recipe)  # fmt: skip
    torch.manual_seed(seed)
    model = SQGAN(replace(preset("street"), **shape))
    task = SQGANTask(model, config, data, scenes=scenes, perceptual=load_perceptual(), segment=load_teacher("street11"))
    picked: StreetBatches = task.batches
    task.batches = replace(picked, zoom=(0.4, 0.7))
    ema = train(task, LoopConfig(out / name, steps, seed, ema_decay=0.99))
    if ema is None:
        return None
    model.image.load_state_dict(ema["net"])
    return model.eval()


@torch.inference_mode()
def measured(model: SQGAN, shots: list, fraction: float, judge, distance) -> dict[str, np.ndarray]:
    """Figures of each picture: confusion (N, 12, 12), lpips, psnr and bytes (N,)."""
    rows = []
    for frame, truth in shots:
        labels = torch.from_numpy(truth.astype(np.int64))[None]
        condition = model.condition(labels)
        sent = model.image.tokens(from_bytes(torch.from_numpy(frame.image.copy())), condition, torch.tensor([fraction]))
        image = to_bytes(model.image.from_indices(sent.indices, sent.mask, condition)).numpy()
        mask = sent.mask[0, 0].numpy() > 0
        blob = encode_tokens(mask, sent.indices[0].numpy()[mask], model.config.image.codes, classes=cell_classes(truth))
        rows.append((confusion(judge(image), truth, CLASSES, ignore=VOID), lpips(image, frame.image, distance),
                     psnr(frame.image, image), len(blob)))  # fmt: skip
    return dict(zip(("matrix", "lpips", "psnr", "bytes"), map(np.array, zip(*rows, strict=True)), strict=True))


def mean_iou(matrix: np.ndarray) -> float:
    return 100 * miou(matrix, ignore=VOID)


def rare_iou(matrix: np.ndarray) -> float:
    return 100 * float(np.nanmean([per_class_iou(matrix)[k] for k in RARE]))


def difference(one: np.ndarray, other: np.ndarray, score) -> str:
    """95 % interval of score(one) - score(other), both from matrices (N, C, C) of the same pictures."""
    pairs = np.stack([one, other], 1)
    low, high = interval_of_sums(pairs, lambda total: score(total[0]) - score(total[1]))
    return f"{low:+.1f} … {high:+.1f}"


def table(figures: dict[str, dict], split: str, fraction: float) -> None:
    """Print the rows of one split and fraction; the first variant is what the others are compared with."""
    head = ("variant", "judge mIoU, %", "difference", "signs, people, cyclists", "difference", "LPIPS", "difference",
            "PSNR dB", "token bytes")  # fmt: skip
    print(f"\n{split}, {fraction:.0%} of the tokens\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
    base = next(iter(figures.values()))
    for name, row in figures.items():
        total, first = row["matrix"].sum(0), row is base
        low, high = interval(row["lpips"] - base["lpips"])
        cells = ["" if first else difference(row["matrix"], base["matrix"], f) for f in (mean_iou, rare_iou)]
        cells = [VARIANTS[name][0], f"{mean_iou(total):.1f}", cells[0], f"{rare_iou(total):.1f}", cells[1],
                 f"{row['lpips'].mean():.3f}", "" if first else f"{low:+.3f} … {high:+.3f}",
                 f"{row['psnr'].mean():.2f}", f"{row['bytes'].mean():.0f}"]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")), help="holds camvid/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--split", nargs="+", default=["val", "unseen"])
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    data, scenes = load_frames(args.data / "camvid"), load_scenes(200)
    models = {}
    for name in args.variants:
        models[name] = trained(name, data, scenes, args.out, args.steps, args.seed)
        if models[name] is None:
            return
    judge, distance = load_judge(), SqueezeLPIPS.from_file(lpips_weights_path())
    for split in args.split:
        shots = [(f, f.labels_in("street11")) for f in frames(args.data / "camvid", split, every=args.every)]
        for fraction in FRACTIONS:
            table({n: measured(m, shots, fraction, judge, distance) for n, m in models.items()}, split, fraction)


if __name__ == "__main__":
    main()
