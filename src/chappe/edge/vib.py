"""Variational information bottleneck for data that is not Gaussian (Alemi et al., ICLR 2017), as `GaussianIB` is asked.

T = mu(X) + N(0, I) with a small network mu. The rate is measured against the best Gaussian with independent components,
1/2 sum log2(1 + Var mu_i), an upper bound of I(T;X). The relevance is h(Y) - E[-log q(Y|T)]: for labels, H(Y) less the
cross-entropy, a lower bound of I(T;Y); for vectors, the Gaussian entropy of Y less that of the residual, which is a
lower bound where Y is Gaussian. Both are taken on samples that were not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chappe.edge.gib import DITHER_BITS, Information
from chappe.errors import InputError

__all__ = ["VariationalIB"]

HELD_OUT = 0.25


@dataclass(frozen=True)
class _Trained:
    """What one beta came to: network, information on held-out samples, mean squared error (None for labels)."""

    beta: float
    network: object
    info: Information
    coded: float
    mse: float | None


@dataclass(frozen=True, eq=False)
class VariationalIB:
    """Bottlenecks trained at a ladder of betas; between two of them, numbers are interpolated over log beta."""

    trained: tuple[_Trained, ...]
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        betas: Sequence[float],
        *,
        size: int = 8,
        hidden: Sequence[int] = (64, 64),
        steps: int = 600,
        batch: int = 1024,
        lr: float = 1e-2,
        seed: int = 0,
    ) -> VariationalIB:
        """Train on x (n, dx) and y: (n, dy) vectors or (n,) whole-numbered labels, with T of `size` components.

        hidden: widths of the encoder's layers, () for a linear one. Every fourth sample is held out. Each beta starts
        from the network of the next larger one. Raises InputError for shapes that do not fit or a beta not above 0.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y)
        labels = y.ndim == 1 and np.issubdtype(y.dtype, np.integer)
        if x.ndim != 2 or len(x) != len(y) or len(x) < 16 or not (labels or y.ndim == 2):
            raise InputError(
                f"expected x (n, dx), y (n, dy) or (n,) labels, n at least 16; found {x.shape}, {y.shape}."
            )
        if not betas or not all(math.isfinite(b) and b > 0 for b in betas):
            raise InputError("betas are finite numbers above 0, at least one.")
        mean, scale = x.mean(0), np.maximum(x.std(0), 1e-12)
        held = np.arange(len(x)) % round(1 / HELD_OUT) == 0
        parts = [((x[p] - mean) / scale, y[p]) for p in (~held, held)]
        found, before = [], None
        for beta in sorted(set(betas), reverse=True):
            before = _train(parts, beta, labels, size, tuple(hidden), steps, batch, lr, seed, before)
            found.append(before)
        return cls(tuple(found[::-1]), mean, scale)

    def encoder(self, beta: float) -> Callable[[np.ndarray], np.ndarray]:
        """x (n, dx) -> mu(x) (n, size) of the trained beta nearest to `beta` in its logarithm; T adds N(0, I)."""
        nearest = min(self.trained, key=lambda t: abs(math.log(t.beta / beta)))
        return lambda x: _encode(nearest.network, (np.asarray(x, np.float64) - self.mean) / self.scale)

    def info(self, beta: float) -> Information:
        """(I(T;X) at most, I(T;Y) as stated above) in bits."""
        return Information(self._read(beta, [t.info.tx for t in self.trained]),
                           self._read(beta, [t.info.ty for t in self.trained]))  # fmt: skip

    def coded_bits(self, beta: float) -> float:
        """Bits a vector with a dithered scalar quantiser: the rate and 0.254 for each component in use."""
        return self._read(beta, [t.coded for t in self.trained])

    def mse(self, beta: float) -> float:
        """E |Y - decoder(T)|^2. Raises InputError for labels, which have none."""
        if self.trained[0].mse is None:
            raise InputError("labels have no mean squared error: ask for info.")
        return self._read(beta, [t.mse for t in self.trained])

    def beta_for_rate(self, bits: float) -> float:
        """The beta with I(T;X) of `bits`, read off the ladder. Raises InputError outside of it."""
        rates = np.maximum.accumulate([t.info.tx for t in self.trained])
        if not rates[0] <= bits <= rates[-1]:
            raise InputError(f"the ladder of betas spans {rates[0]:.3g} to {rates[-1]:.3g} bits, asked for {bits:.3g}.")
        return float(np.exp(np.interp(bits, rates, [math.log(t.beta) for t in self.trained])))

    def _read(self, beta: float, values: Sequence[float]) -> float:
        ladder = [t.beta for t in self.trained]
        if not ladder[0] * (1 - 1e-9) <= beta <= ladder[-1] * (1 + 1e-9):
            raise InputError(
                f"this bottleneck was trained for beta from {ladder[0]:g} to {ladder[-1]:g}, found {beta:g}."
            )
        return float(np.interp(math.log(beta), np.log(ladder), values))


def _train(parts, beta, labels, size, hidden, steps, batch, lr, seed, before) -> _Trained:
    import torch
    from torch import nn
    from torch.nn import functional

    (x, y), (x_held, y_held) = parts
    kind = torch.int64 if labels else torch.float32
    x, x_held = (torch.as_tensor(a, dtype=torch.float32) for a in (x, x_held))
    y, y_held = (torch.as_tensor(np.array(a), dtype=kind) for a in (y, y_held))
    width = int(max(y.max(), y_held.max())) + 1 if labels else y.shape[1]
    centre = None if labels else y.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed + 1)
        network = nn.ModuleDict(
            {"encoder": _layers(nn, x.shape[1], hidden, size), "decoder": _decoder(nn, size, hidden, width)}
        )
    if before is not None:
        network.load_state_dict(before.network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def look(inputs, targets):
        """(rate in nats, variances of mu, distortion in nats, squared error) of a batch."""
        mu = network["encoder"](inputs)
        variance = mu.var(0)
        rate = 0.5 * torch.log1p(variance).sum()
        guess = network["decoder"](mu - mu.mean(0) + torch.randn(mu.shape, generator=generator))
        if labels:
            return rate, variance, functional.cross_entropy(guess, targets), None
        error = targets - centre - guess
        cov = error.T @ error / len(error)
        return rate, variance, 0.5 * torch.logdet(cov + 1e-9 * torch.eye(len(cov))), (error**2).sum(1).mean()

    for _ in range(steps):
        pick = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        rate, _, distortion, _ = look(x[pick], y[pick])
        optimiser.zero_grad()
        (rate / beta + distortion).backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        rate, variance, distortion, error = look(x_held, y_held)
        if labels:
            share = torch.bincount(y_held, minlength=width).double() / len(y_held)
            entropy = float(-(share[share > 0] * share[share > 0].log()).sum())
        else:
            entropy = 0.5 * float(torch.logdet(torch.cov(y_held.T).reshape(width, width)))
    bits = 1 / math.log(2)
    used = int((variance > 0.01).sum())
    info = Information(float(rate) * bits, max(0.0, (entropy - float(distortion)) * bits))
    return _Trained(beta, network, info, info.tx + DITHER_BITS * used, None if error is None else float(error))


def _layers(nn, inputs: int, hidden: Sequence[int], outputs: int):
    layers, width = [], inputs
    for number in hidden:
        layers += [nn.Linear(width, number), nn.GELU()]
        width = number
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _decoder(nn, size: int, hidden: Sequence[int], outputs: int):
    """As wide as the encoder; its last layer starts at 0, so that training starts from the mean of Y."""
    layers = _layers(nn, size, hidden, outputs)
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return layers


def _encode(network, x: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return network["encoder"](torch.as_tensor(x, dtype=torch.float32)).numpy().astype(np.float64)
