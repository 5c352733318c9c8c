"""SQ-GAN's generator: G_s and G_x, each encoder, SAMM, quantiser, ADM and decoder (SQ-GAN III, fig. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.blocks import Attention, Downsample, GroupNorm, ResBlock, Upsample
from chappe.nn.condition import Condition, one_hot
from chappe.nn.demasking import Demask
from chappe.nn.masking import ScoreNet, select
from chappe.nn.texture import FineHead
from chappe.nn.vq import VectorQuantizer
from chappe.systems.sqgan.config import SQGANConfig, StreamConfig

__all__ = ["SQGAN", "Output", "Stream", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """What one pipeline sends: `mask` (N, 1, h, w) of ones where a token is sent, `indices` (N, h, w) int64."""

    mask: Tensor
    indices: Tensor
    codes: Tensor  # (N, D, h, w), straight-through in training
    scores: Tensor  # (N, 1, h, w)
    loss: Tensor
    perplexity: Tensor


@dataclass(frozen=True)
class Output:
    """`y`: label logits (N, classes + 1, H, W) from G_s, a picture in about [-1, 1] (N, 3, H, W) from G_x."""

    y: Tensor
    tokens: Tokens


class SemPE(nn.Module):
    """Semantic positional embedding: two convolutions of the label map, added to the stem (SQ-GAN III-B)."""

    def __init__(self, classes: int, hidden: int, channels: int):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(classes, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))

    def forward(self, condition: Condition, height: int, width: int) -> Tensor:
        return self.net(condition.at(height, width))


class Encoder(nn.Module):
    """(N, C, H, W) -> latent (N, latent, H/16, W/16). With a `sempe` this is E_x, without one E_s."""

    def __init__(self, channels: int, shape: StreamConfig, downsample: str, sempe: SemPE | None, stem_norm: bool):
        super().__init__()
        widths = shape.encoder
        self.fold = nn.PixelUnshuffle(shape.patch)
        self.stem = nn.Conv2d(channels * shape.patch**2, widths[0], shape.stem_kernel, padding=shape.stem_kernel // 2)
        self.stem_norm = GroupNorm(widths[0]) if stem_norm else nn.Identity()
        self.sempe = sempe
        layers: list[nn.Module] = []
        width = widths[0]
        for level, target in enumerate(widths):
            if level:
                layers.append(Downsample(width, width, downsample))
            for _ in range(shape.encoder_blocks):
                layers.append(ResBlock(width, target))
                width = target
                if level == len(widths) - 1:
                    layers.append(Attention(width, shape.heads))
        if shape.encoder_mid:
            layers += [ResBlock(width, width), Attention(width, shape.heads), ResBlock(width, width)]
        self.layers = nn.ModuleList(layers)
        self.norm = GroupNorm(width)
        self.out = nn.Conv2d(width, shape.latent, 3, padding=1)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        h = self.stem_norm(self.stem(self.fold(x)))
        if self.sempe is not None:
            h = h + self.sempe(condition, *h.shape[2:])
        for layer in self.layers:
            h = layer(h)
        return self.out(F.silu(self.norm(h)))


class Decoder(nn.Module):
    """Latent (N, latent, h, w) -> (N, channels, 16h, 16w); with `spade` this is D_x, without it D_s."""

    def __init__(self, channels: int, shape: StreamConfig, spade: dict | None):
        super().__init__()
        widths = shape.decoder[::-1]
        width = widths[0]
        self.stem = nn.Conv2d(shape.adm_width, width, 3, padding=1)
        layers: list[nn.Module] = []
        if shape.decoder_mid:
            layers += [ResBlock(width, width), Attention(width, shape.heads), ResBlock(width, width)]
        for level, target in enumerate(widths):
            if level:
                layers.append(Upsample(width, target if shape.upsample_narrows else width))
                width = layers[-1].conv.out_channels
            for _ in range(shape.decoder_blocks):
                layers.append(ResBlock(width, target, spade))
                width = target
                if level == 0:
                    layers.append(Attention(width, shape.heads))
        self.layers = nn.ModuleList(layers)
        self.fine = FineHead(width, spade["classes"], *shape.fine) if shape.fine else None
        if self.fine is None:
            self.norm = GroupNorm(width)
            self.head = nn.Conv2d(width, channels * shape.patch**2, shape.head_kernel, padding=shape.head_kernel // 2)
            self.unfold = nn.PixelShuffle(shape.patch)
        # Not in the paper: without it the tokens of a small model learn colours only after many thousand steps.
        self.coarse = nn.Conv2d(shape.adm_width, channels * shape.coarse**2, 1) if shape.coarse else None
        if self.coarse is not None:
            nn.init.zeros_(self.coarse.weight)
            nn.init.zeros_(self.coarse.bias)
        self.cell_colours = nn.PixelShuffle(max(1, shape.coarse))

    def forward(self, z: Tensor, condition: Condition | None) -> Tensor:
        h = self.stem(z)
        for layer in self.layers:
            h = layer(h, condition) if isinstance(layer, ResBlock) else layer(h)
        y = self.fine(h, condition) if self.fine is not None else self.unfold(self.head(F.silu(self.norm(h))))
        if self.coarse is None:
            return y
        colours = self.cell_colours(self.coarse(z))
        return y + F.interpolate(colours, y.shape[2:], mode="bilinear", align_corners=False)

    @property
    def last_weight(self) -> Tensor:
        """Where taming's adaptive GAN weight compares gradients."""
        return self.head.weight if self.fine is None else self.fine.out.weight


class Stream(nn.Module):
    """One pipeline: encoder, score net, projection, quantiser, ADM, decoder."""

    def __init__(self, config: SQGANConfig, which: str):
        super().__init__()
        shape: StreamConfig = getattr(config, which)
        image = which == "image"
        spade = {"classes": config.classes, "hidden": config.spade_hidden, "kernel": config.spade_kernel}
        channels = 3 if image else config.map_channels
        sempe = None
        if image and config.sempe:
            sempe = SemPE(config.classes, config.sempe_hidden, config.sempe_channels or shape.encoder[0])
        self.shape = shape
        self.encoder = Encoder(channels, shape, config.downsample, sempe, stem_norm=not image)
        self.samm = ScoreNet(shape.latent, spade if config.samm_spade else None)
        self.project = nn.Conv2d(shape.latent, shape.code_dim, 1, bias=False)
        nn.init.orthogonal_(self.project.weight)  # tokens start with unit variance in every dimension
        self.quantizer = VectorQuantizer(shape.codes, shape.code_dim, update=config.codebook_update)
        self.residual = VectorQuantizer(shape.residual, shape.code_dim) if shape.residual else None
        self.adm = Demask(shape.code_dim, shape.adm_width, shape.adm_blocks, heads=shape.heads)
        self.decoder = Decoder(channels, shape, spade if image else None)

    def scored(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Latent normalised over channels (N, latent, h, w), and its relevance scores (N, 1, h, w)."""
        z = self.encoder(x, condition)
        scores = self.samm(z, condition)
        normed = F.layer_norm(z.permute(0, 2, 3, 1), (self.shape.latent,)).permute(0, 3, 1, 2)
        return normed, scores

    def tokens(self, x: Tensor, condition: Condition, fraction: Tensor) -> Tokens:
        """x and the sender's map -> the best floor(fraction * K) tokens of each picture; fraction (N,) in (0, 1]."""
        normed, scores = self.scored(x, condition)
        mask = select(scores, fraction)
        # the score multiplies the token: the only path by which a gradient reaches the score net
        q = self.quantizer(self.project(normed * scores), mask)
        return Tokens(mask, q.indices, q.codes, scores, q.loss, q.perplexity)

    def symbols(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor, Tensor | None]:
        """All candidates of the sender: scores (N, 1, h, w), indices and finer indices (N, h, w) int64."""
        normed, scores = self.scored(x, condition)
        tokens = self.project(normed * scores).permute(0, 2, 3, 1)
        flat = tokens.reshape(-1, tokens.shape[-1])
        indices = self.quantizer.search(flat)
        finer = None
        if self.residual is not None:
            finer = self.residual.search(flat - self.quantizer.codebook.detach()[indices]).reshape(tokens.shape[:3])
        return scores, indices.reshape(tokens.shape[:3]), finer

    def reconstruct(self, codes: Tensor, mask: Tensor, condition: Condition | None) -> Tensor:
        return self.decoder(self.adm(codes, mask), condition)

    def from_indices(
        self, indices: Tensor, mask: Tensor, condition: Condition | None, finer: Tensor | None = None
    ) -> Tensor:
        """What the receiver does: indices (N, h, w), mask (N, 1, h, w), finer indices (-1: not sent) -> output."""
        codes = self.quantizer.lookup(indices)
        if finer is not None:
            codes = codes + self.residual.lookup(finer.clamp(min=0)) * (finer >= 0).unsqueeze(1)
        return self.reconstruct(codes, mask, condition)

    def forward(self, x: Tensor, sender: Condition, fraction: Tensor, receiver: Condition | None) -> Output:
        tokens = self.tokens(x, sender, fraction)
        return Output(self.reconstruct(tokens.codes, tokens.mask, receiver), tokens)


class SQGAN(nn.Module):
    """G = {G_s, G_x}. Pictures (N, 3, H, W) float in [-1, 1], labels (N, H, W) int64; H, W multiples of 16."""

    def __init__(self, config: SQGANConfig):
        super().__init__()
        self.config = config
        self.map = Stream(config, "map")
        self.image = Stream(config, "image")

    def condition(self, labels: Tensor) -> Condition:
        return Condition(labels, self.config.classes, self.config.spade_resize)

    def code_map(self, labels: Tensor, fraction: Tensor) -> Output:
        """G_s: labels -> label logits (N, classes + 1, H, W)."""
        return self.map(one_hot(labels, self.config.map_channels), self.condition(labels), fraction, None)

    def code_image(self, image: Tensor, labels: Tensor, fraction: Tensor, received: Tensor | None = None) -> Output:
        """G_x: the sender sees `labels`, the receiver `received` (s^; None: the same)."""
        sender = self.condition(labels)
        receiver = sender if received is None else self.condition(received)
        return self.image(image, sender, fraction, receiver)
