"""Gaussian information bottleneck in closed form (Chechik et al., JMLR 6, 2005).

For jointly Gaussian X and Y, the T = A X + noise that minimises I(X;T) - beta I(T;Y) keeps the directions of X with
the largest squared canonical correlations 1 - lambda_i, each from its critical beta 1 / (1 - lambda_i) on. One
decomposition gives every beta: nothing is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chappe.errors import InputError

__all__ = ["DITHER_BITS", "GaussianIB", "Information"]

FLOOR = 1e-12  # below this, lambda is a deterministic relation: the information is infinite
DITHER_BITS = 0.254  # what a dithered scalar quantiser with entropy coding needs above the ideal: log2(2 pi e / 12) / 2


@dataclass(frozen=True)
class Information:
    """I(T;X) and I(T;Y) in bits."""

    tx: float
    ty: float


@dataclass(frozen=True, eq=False)
class GaussianIB:
    """All bottlenecks of one pair of Gaussian vectors.

    lam: (r,) ascending in (0, 1], eigenvalues of Sigma_{x|y} v = lambda Sigma_x v; directions: (r, dx), v_i as rows
    with v_i' Sigma_x v_j = delta_ij; cross: (r, dy), Sigma_xy' v_i; power: tr Sigma_y; deterministic: some lambda had
    to be floored at 1e-12, so I(X;Y) is infinite and only beta below about 1e12 means anything.
    """

    lam: np.ndarray
    directions: np.ndarray
    cross: np.ndarray
    power: float
    mean_x: np.ndarray
    mean_y: np.ndarray
    deterministic: bool

    @classmethod
    def from_cov(cls, sx: np.ndarray, sxy: np.ndarray, sy: np.ndarray, *, mean_x=None, mean_y=None) -> GaussianIB:
        """From covariances sx (dx, dx), sxy (dx, dy), sy (dy, dy); a singular one is taken on its range.

        Raises InputError for shapes that do not fit, values that are not finite, or a joint covariance that is none.
        """
        sx, sxy, sy = (np.atleast_2d(np.asarray(s, np.float64)) for s in (sx, sxy, sy))
        dx, dy = sxy.shape
        if sx.shape != (dx, dx) or sy.shape != (dy, dy):
            raise InputError(
                f"covariances of shapes {sx.shape}, {sxy.shape}, {sy.shape} do not fit: expected (dx, dx), (dx, dy), "
                "(dy, dy)."
            )
        if not all(np.isfinite(s).all() for s in (sx, sxy, sy)):
            raise InputError("a covariance holds values that are not finite: remove such samples first.")
        white_x, white_y = _whitener(sx), _whitener(sy)
        u, rho, _ = np.linalg.svd(white_x @ sxy @ white_y.T)
        if rho.size and rho[0] > 1 + 1e-6:
            raise InputError(
                f"no random vectors have these covariances: a canonical correlation would be {rho[0]:.4g}; "
                "estimate all three from the same samples."
            )
        lam = np.ones(len(white_x))
        lam[: len(rho)] = 1 - np.minimum(rho, 1) ** 2
        directions = u.T @ white_x
        return cls(
            lam=np.maximum(lam, FLOOR),
            directions=directions,
            cross=directions @ sxy,
            power=float(np.trace(sy)),
            mean_x=np.zeros(dx) if mean_x is None else np.asarray(mean_x, np.float64),
            mean_y=np.zeros(dy) if mean_y is None else np.asarray(mean_y, np.float64),
            deterministic=bool((lam < FLOOR).any()),
        )

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, *, shrinkage: float | None = None) -> GaussianIB:
        """From samples x (n, dx), y (n, dy). `shrinkage` in [0, 1] pulls the joint covariance towards its diagonal.

        None: Ledoit and Wolf's estimate for correlation matrices. Raises InputError for fewer than 4 samples, or where
        `shrinkage` is 0 and there are no more samples than dx + dy: every correlation would be 1 there.
        """
        x, y = (np.asarray(a, np.float64) for a in (x, y))
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 4:
            raise InputError(f"expected samples (n, dx) and (n, dy) with n at least 4, found {x.shape} and {y.shape}.")
        count, dims = len(x), x.shape[1] + y.shape[1]
        joint = np.concatenate([x, y], 1)
        centred = joint - joint.mean(0)
        if shrinkage is None:
            shrinkage = _shrinkage(centred)
        if not 0 <= shrinkage <= 1:
            raise InputError(f"shrinkage lies between 0 and 1, found {shrinkage}.")
        if shrinkage == 0 and count <= dims:
            raise InputError(
                f"{count} samples of {dims} numbers make every correlation 1: give more than {dims} samples, or a "
                "shrinkage above 0."
            )
        cov = centred.T @ centred / (count - 1)
        cov = (1 - shrinkage) * cov + shrinkage * np.diag(np.diag(cov))
        split = x.shape[1]
        return cls.from_cov(cov[:split, :split], cov[:split, split:], cov[split:, split:],
                            mean_x=joint[:, :split].mean(0), mean_y=joint[:, split:].mean(0))  # fmt: skip

    @property
    def critical(self) -> np.ndarray:
        """(r,) ascending critical betas, infinite for directions that say nothing of Y."""
        with np.errstate(divide="ignore"):
            return 1 / (1 - self.lam)

    @property
    def total(self) -> float:
        """I(X;Y) in bits."""
        return float(-0.5 * np.log2(self.lam).sum())

    def rank(self, beta: float) -> int:
        """How many components T has at `beta`."""
        _check_beta(beta)
        return int(np.searchsorted(self.critical, beta, side="left"))

    def gains(self, beta: float) -> np.ndarray:
        """(rank,) alpha_i > 0 with alpha_i^2 = (beta (1 - lambda_i) - 1) / lambda_i."""
        lam = self.lam[: self.rank(beta)]
        return np.sqrt((beta * (1 - lam) - 1) / lam)

    def encoder(self, beta: float) -> np.ndarray:
        """A (rank, dx) with T = A (X - mean_x) + N(0, I)."""
        gains = self.gains(beta)
        return gains[:, None] * self.directions[: len(gains)]

    def decoder(self, beta: float) -> np.ndarray:
        """D (dy, rank) with E[Y | T] = mean_y + D T."""
        gains = self.gains(beta)
        return (self.cross[: len(gains)] * (gains / (1 + gains**2))[:, None]).T

    def info(self, beta: float) -> Information:
        """(I(T;X), I(T;Y)) in bits; both 0 up to the first critical beta."""
        lam = self.lam[: self.rank(beta)]
        if not lam.size:
            return Information(0.0, 0.0)
        tx = 0.5 * np.log2((beta - 1) * (1 - lam) / lam)
        return Information(float(tx.sum()), float((tx - 0.5 * np.log2(beta * (1 - lam))).sum()))

    def coded_bits(self, beta: float) -> float:
        """Bits a vector in practice: 1/2 log2(1 + alpha_i^2) + 0.254 for each component (dithered scalar quantiser)."""
        gains = self.gains(beta)
        return float((0.5 * np.log2(1 + gains**2) + DITHER_BITS).sum())

    def beta_for_rate(self, bits: float) -> float:
        """The beta whose I(T;X) is `bits` >= 0: the inverse of `info`, in closed form. 0 bits gives the first critical.

        Raises InputError for a negative rate, or for any above 0 where X says nothing of Y.
        """
        if not (math.isfinite(bits) and bits >= 0):
            raise InputError(f"a rate is a finite number of bits from 0 on, found {bits}.")
        critical = self.critical
        known = int(np.isfinite(critical).sum())
        if known == 0:
            if bits > 0:
                raise InputError("X and Y are uncorrelated: no encoder has any relevant bit; ask for rate 0.")
            return 1.0
        odds = np.log((1 - self.lam[:known]) / self.lam[:known])
        n = 0
        while True:
            n += 1
            beta = 1 + math.exp((2 * bits * math.log(2) - odds[:n].sum()) / n)
            if n == known or beta <= critical[n]:
                return max(beta, float(critical[0]))

    def mse(self, beta: float) -> float:
        """E |Y - E[Y | T]|^2."""
        gains = self.gains(beta)
        kept = gains**2 / (1 + gains**2) @ (self.cross[: len(gains)] ** 2).sum(1)
        return float(self.power - kept)


def _check_beta(beta: float) -> None:
    if not (math.isfinite(beta) and beta >= 0):
        raise InputError(f"beta is a finite number from 0 on, found {beta}.")


def _whitener(cov: np.ndarray) -> np.ndarray:
    """W (r, d) with W cov W' = I on the range of cov."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    if values.size and values[0] < -1e-8 * max(values[-1], 0.0):
        raise InputError(f"a covariance has the negative eigenvalue {values[0]:.3g}: it is none.")
    keep = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps * 8
    return (vectors[:, keep] / np.sqrt(values[keep])).T


def _shrinkage(centred: np.ndarray) -> float:
    """Share of the diagonal that minimises the expected squared error of the correlations (Schaefer, Strimmer 2005)."""
    count, _ = centred.shape
    scale = centred.std(0)
    unit = centred / np.where(scale > 0, scale, 1)
    mean = unit.T @ unit / count
    spread = np.maximum((unit**2).T @ unit**2 / count - mean**2, 0) / count
    off = ~np.eye(len(mean), dtype=bool)
    bottom = (mean[off] ** 2).sum()
    return float(np.clip(spread[off].sum() / bottom, 0, 1)) if bottom > 0 else 1.0
