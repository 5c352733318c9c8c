"""Does a receiver gain from tokens *and* a coarse picture? One network that takes both, at every split of the bytes.

    python tools/both_layers.py --data DIR --out RUN [--steps 600] [--every 4]

The network is the bundled one-pass receiver, with the bundled SQ-GAN's de-masked tokens added (through a 1x1
convolution that starts at zero) where the grid is 1/16. It is trained on with tokens, coarse picture or both, so that
it serves each split; the map is the one-pass codec's. The table gives judge mIoU, LPIPS and PSNR of val and unseen
frames at equal bytes for each share of the picture's bytes that goes to tokens, and 95 % intervals, paired over
pictures, of the difference from no tokens. Labels are the built-in segmenter's. The run resumes.
"""

from __future__ import annotations

import argparse
import copy
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from chappe import load
from chappe.bench.protocol import frames
from chappe.bitstream import container
from chappe.bitstream.tokenmix import cell_classes
from chappe.metrics import confusion, miou
from chappe.metrics.bootstrap import interval, interval_of_sums
from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
from chappe.metrics.pixel import psnr
from chappe.nn.demasking import Demask
from chappe.nn.masking import select
from chappe.nn.run import from_bytes, to_bytes
from chappe.segment.builtin import load_judge, load_segmenter
from chappe.systems.mapstream import decode_map, file_size
from chappe.systems.rate import most_that_fit
from chappe.systems.spic.coarse import decode_coarse
from chappe.systems.spic.codec import Sender
from chappe.systems.spic.onepass import OnePass
from chappe.systems.spic.train import OnePassTask, TrainConfig
from chappe.systems.sqgan.model import SQGAN
from chappe.training.corpus import load_frames, load_scenes
from chappe.training.frames import to_tensors
from chappe.training.loop import LoopConfig, train
from chappe.training.street import load_perceptual, load_teacher, near_map

VOID, CLASSES = 11, 12
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Both(nn.Module):
    """One-pass receiver with tokens: codes (N, D, h, w) and mask (N, 1, h, w) beside coarse picture and labels."""

    def __init__(self, base: OnePass, demask: Demask, width: int):
        super().__init__()
        self.base, self.demask = base, demask
        self.join = nn.Conv2d(width, base.config.encoder[-1], 1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)
        self.tokens: tuple[Tensor, Tensor] | None = None
        base.attention.register_forward_hook(self._add)

    @property
    def config(self):
        return self.base.config

    def _add(self, _module: nn.Module, _inputs: tuple, out: Tensor) -> Tensor:
        codes, mask = self.tokens
        there = (mask.sum((1, 2, 3), keepdim=True) > 0).to(out)
        return out + there * self.join(self.demask(codes, mask))

    def forward(self, coarse: Tensor, labels: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
        self.tokens = codes, mask
        return self.base(coarse, labels)


class BothTask(OnePassTask):
    """The one-pass recipe; a picture has tokens in 70 % of the cases and loses its coarse picture in 20 %."""

    name = "both-layers"

    def __init__(self, model: Both, sqgan: SQGAN, config: TrainConfig, data, **others):
        super().__init__(model, config, data, **others)
        self.sqgan = sqgan.requires_grad_(False).eval()

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        images, labels = self.batches.arrays(rng)
        coarse = self._coarse(images, rng)
        x, y = (t.to(self.device) for t in to_tensors(images, labels))
        sent = self.sent_labels(x, y, rng)
        stream = self.sqgan.image
        with torch.no_grad():
            scores, indices, _ = stream.symbols(x, self.sqgan.condition(sent))
            share = torch.tensor(np.exp(rng.uniform(np.log(0.05), 0.0, len(x))), dtype=torch.float32)
            given = torch.tensor(rng.random(len(x)) < 0.7)
            mask = select(scores, share) * given[:, None, None, None]
            lost = torch.tensor(rng.random(len(x)) < 0.2) & given
            coarse = coarse * ~lost[:, None, None, None]
            codes = stream.quantizer.lookup(indices)
        self.model.train()
        fake = self.model(coarse, near_map(sent, self.void + 1, rng), codes, mask)
        return self.descend(step, progress, fake, x, y, rng)


@dataclass(frozen=True, eq=False)
class Sent:
    """One picture at the receiver: labels, coarse picture or None, all tokens and which of them were sent."""

    labels: np.ndarray
    coarse: np.ndarray | None
    mask: np.ndarray
    indices: np.ndarray
    size: int  # bytes of the file


def coded(onepass, sqgan, image: np.ndarray, labels: np.ndarray, bpp: float, share: float) -> Sent:
    """`image` (H, W, 3) with `share` of what the map leaves of `bpp` in tokens; the same map for every share."""
    sender, shape = Sender(onepass, image, labels), labels.shape
    total = bpp * labels.size / 8
    first = sender.map.within(int(onepass.map_share(bpp, "near") * total))
    received = decode_map({first.type: first.payload}, shape, onepass.classes, onepass.taxonomy)
    room = total - file_size(*shape, [first])
    found, known = sqgan.engine.analyse_image(image, labels), cell_classes(received)

    def tokens(n: int) -> int:
        return container.section_size(len(sqgan.code_tokens(found.best(n)[0], found.indices, classes=known)))

    mask, spent = np.zeros(found.indices.shape, bool), 0
    if share:
        count = most_that_fit(tokens, mask.size, share * room, max(1, round(share * room * 8 / 10)))
        mask, spent = found.best(count)[0], tokens(count)
    coarse, size = None, total - room + spent
    if share < 1:
        section = sender.fill(room - spent)
        coarse = decode_coarse(section.payload, shape[0] // 4, shape[1] // 4)
        size += container.section_size(len(section.payload))
    return Sent(received, coarse, mask, found.indices, round(size))


@torch.inference_mode()
def decoded(model: Both, sqgan: SQGAN, sent: Sent) -> np.ndarray:
    """The picture (H, W, 3) uint8."""
    labels = torch.from_numpy(sent.labels.astype(np.int64))[None]
    height, width = sent.labels.shape
    coarse = torch.zeros(1, 3, height // 4, width // 4)
    if sent.coarse is not None:
        coarse = from_bytes(torch.from_numpy(sent.coarse.copy()))
    codes = sqgan.image.quantizer.lookup(torch.from_numpy(sent.indices)[None])
    mask = torch.from_numpy(sent.mask.astype(np.float32))[None, None]
    return to_bytes(model(coarse, labels, codes, mask)).numpy()


def table(model: Both, codecs: tuple, shots: list, bpp: float, split: str) -> None:
    """Print a row for each share of the tokens."""
    onepass, sqgan = codecs
    judge, distance, rows = load_judge(), SqueezeLPIPS.from_file(lpips_weights_path()), {}
    for share in SHARES:
        found = []
        for frame, truth, labels in shots:
            sent = coded(onepass, sqgan, frame.image, labels, bpp, share)
            image = decoded(model, sqgan.engine.model, sent)
            found.append((confusion(judge(image), truth, CLASSES, ignore=VOID), lpips(image, frame.image, distance),
                          psnr(frame.image, image), sent.size, sent.mask.sum()))  # fmt: skip
        rows[share] = [np.array(column) for column in zip(*found, strict=True)]
    head = ("bytes in tokens", "bytes", "tokens", "judge mIoU, %", "difference, 95 %", "LPIPS", "difference, 95 %",
            "PSNR dB")  # fmt: skip
    print(f"\n{split}, {bpp:g} bpp\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
    base = rows[0.0]
    for share, (matrix, far, near, size, count) in rows.items():
        pairs = np.stack([matrix, base[0]], 1)
        ends = interval_of_sums(pairs, lambda t: 100 * (miou(t[0], ignore=VOID) - miou(t[1], ignore=VOID)))
        other = interval(far - base[1])
        cells = (f"{share:.0%}", f"{size.mean():.0f}", f"{count.mean():.0f}",
                 f"{100 * miou(matrix.sum(0), ignore=VOID):.1f}",
                 f"{ends[0]:+.1f} … {ends[1]:+.1f}" if share else "", f"{far.mean():.3f}",
                 f"{other[0]:+.3f} … {other[1]:+.3f}" if share else "", f"{near.mean():.2f}")  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")), help="holds camvid/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the run")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--split", nargs="+", default=["val", "unseen"])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.02, 0.04, 0.08])
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    codecs = load("spic-onepass-street"), load("sqgan-street")
    sqgan = codecs[1].engine.model
    base = copy.deepcopy(codecs[0].engine.model)
    model = Both(base, copy.deepcopy(sqgan.image.adm), sqgan.config.image.adm_width).requires_grad_(True)
    recipe, data = replace(TrainConfig(), lr=2e-4, warmup=50), load_frames(args.data / "camvid")
    help_with = {"scenes": load_scenes(200), "perceptual": load_perceptual(), "segment": load_teacher("street11")}
    task = BothTask(model, sqgan, recipe, data, **help_with)
    ema = train(task, LoopConfig(args.out, args.steps, ema_decay=0.99))
    if ema is None:
        return
    model.load_state_dict(ema["net"])
    model.eval()
    segment = load_segmenter()
    for split in args.split:
        chosen = frames(args.data / "camvid", split, every=args.every)
        shots = [(f, f.labels_in("street11"), segment(f.image)) for f in chosen]
        for bpp in args.bpp:
            table(model, codecs, shots, bpp, split)


if __name__ == "__main__":
    main()
