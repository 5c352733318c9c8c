"""The Gaussian bottleneck against log-determinants, its own optimality, limits and the scalar closed form (A1)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import eigh

from chappe.edge.gib import GaussianIB
from chappe.errors import InputError


def covariances(dx: int = 12, dy: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((dx + dy, dx + dy))
    joint = mix @ mix.T + 0.3 * np.eye(dx + dy)
    return joint[:dx, :dx], joint[:dx, dx:], joint[dx:, dx:]


def direct(a: np.ndarray, sx: np.ndarray, sxy: np.ndarray, sy: np.ndarray) -> tuple[float, float]:
    """I(T;X) and I(T;Y) in bits of T = A X + N(0, I), from log-determinants."""
    given_y = sx - sxy @ np.linalg.solve(sy, sxy.T)
    eye = np.eye(len(a))
    total, noise = np.linalg.slogdet(a @ sx @ a.T + eye)[1], np.linalg.slogdet(a @ given_y @ a.T + eye)[1]
    return total / 2 / math.log(2), (total - noise) / 2 / math.log(2)


@pytest.fixture(scope="module")
def world():
    parts = covariances()
    return GaussianIB.from_cov(*parts), parts


def test_lambda_are_those_of_the_generalised_eigenproblem(world):
    gib, (sx, sxy, sy) = world
    lam = eigh(sx - sxy @ np.linalg.solve(sy, sxy.T), sx, eigvals_only=True)
    np.testing.assert_allclose(gib.lam, np.minimum(lam, 1), atol=1e-9)
    np.testing.assert_allclose(gib.directions @ sx @ gib.directions.T, np.eye(12), atol=1e-9)


def test_rank_grows_at_the_critical_betas_and_ends_at_the_smaller_dimension(world):
    gib, _ = world
    assert np.isinf(gib.critical[6:]).all() and np.isfinite(gib.critical[:6]).all()
    for i, beta in enumerate(gib.critical[:6]):
        assert (gib.rank(beta * (1 - 1e-9)), gib.rank(beta * (1 + 1e-9))) == (i, i + 1)
    assert gib.rank(1e300) == 6 and gib.rank(1.0) == 0
    assert gib.info(1.0) == gib.info(gib.critical[0] * (1 - 1e-12)) and gib.info(1.0).tx == 0


@pytest.mark.parametrize("beta", [1.2, 1.5, 2, 5, 100, 1e4, 1e8])
def test_closed_forms_are_the_log_determinants(world, beta):
    gib, parts = world
    assert direct(gib.encoder(beta), *parts) == pytest.approx(
        (gib.info(beta).tx, gib.info(beta).ty), rel=1e-6, abs=1e-9
    )


def test_large_beta_keeps_all_information_and_reaches_the_lmmse(world):
    gib, (sx, sxy, sy) = world
    joint = np.block([[sx, sxy], [sxy.T, sy]])
    total = sum(np.linalg.slogdet(s)[1] * sign for s, sign in ((sx, 1), (sy, 1), (joint, -1))) / 2 / math.log(2)
    assert gib.total == pytest.approx(total, rel=1e-9)
    assert gib.info(1e8).ty == pytest.approx(total, abs=1e-6)
    assert gib.mse(1e9) == pytest.approx(np.trace(sy - sxy.T @ np.linalg.solve(sx, sxy)), rel=1e-6)
    assert gib.mse(1.0) == pytest.approx(np.trace(sy))


def test_slope_is_one_over_beta_and_the_rate_inverts(world):
    gib, _ = world
    for beta in (1.3, 2.0, 3.7, 20.0, 1e4):
        step = 1e-5 * beta
        low, high = gib.info(beta - step), gib.info(beta + step)
        assert (high.ty - low.ty) / (high.tx - low.tx) == pytest.approx(1 / beta, rel=1e-6)
        assert gib.beta_for_rate(gib.info(beta).tx) == pytest.approx(beta, rel=1e-12)
        assert gib.info(beta).ty <= min(gib.info(beta).tx, gib.total)
    assert gib.beta_for_rate(0) == gib.critical[0]


def test_the_scalar_case_is_the_textbook_one():
    rho = 0.8
    gib = GaussianIB.from_cov([[4.0]], [[2 * 3 * rho]], [[9.0]])
    assert gib.critical[0] == pytest.approx(1 / rho**2)
    assert gib.info(5.0).tx == pytest.approx(0.5 * math.log2(4 * rho**2 / (1 - rho**2)))


def test_no_random_encoder_is_above_the_curve(world):
    gib, parts = world
    rng = np.random.default_rng(1)
    best = -np.inf
    for _ in range(600):
        start = gib.encoder(float(np.exp(rng.uniform(0.3, 4)))) + 10 ** rng.uniform(-3, 0) * rng.standard_normal(
            (1, 12)
        )
        tx, ty = direct(start, *parts)
        best = max(best, ty - gib.info(gib.beta_for_rate(tx)).ty)
    assert -0.05 < best <= 1e-9  # near it, never above


def test_samples_of_the_encoder_have_the_stated_error(world):
    gib, (sx, sxy, sy) = world
    rng = np.random.default_rng(2)
    joint = np.linalg.cholesky(np.block([[sx, sxy], [sxy.T, sy]]))
    x, y = np.split(rng.standard_normal((200_000, 18)) @ joint.T, [12], axis=1)
    t = x @ gib.encoder(3.0).T + rng.standard_normal((200_000, gib.rank(3.0)))
    assert ((y - t @ gib.decoder(3.0).T) ** 2).sum(1).mean() == pytest.approx(gib.mse(3.0), rel=0.01)
    assert gib.coded_bits(3.0) == pytest.approx(0.5 * np.log2(1 + gib.gains(3.0) ** 2).sum() + 0.254 * gib.rank(3.0))


def test_singular_and_repeated_cases():
    sx, sxy, sy = covariances(4, 2, 3)
    lift = np.random.default_rng(4).standard_normal((7, 4))
    wide = GaussianIB.from_cov(lift @ sx @ lift.T, lift @ sxy, sy)  # rank 4 in 7 dimensions
    np.testing.assert_allclose(wide.lam, GaussianIB.from_cov(sx, sxy, sy).lam, atol=1e-8)
    copy = GaussianIB.from_cov(np.eye(2), np.eye(2), np.eye(2))
    assert copy.deterministic and np.isfinite(copy.info(10.0).tx)
    twin = GaussianIB.from_cov(np.eye(3), 0.5 * np.eye(3), np.eye(3))  # any rotation is as good
    a = twin.encoder(8.0)
    np.testing.assert_allclose(a.T @ a, np.eye(3) * (8 * 0.25 - 1) / 0.75, atol=1e-9)
    none = GaussianIB.from_cov(np.eye(2), np.zeros((2, 2)), np.eye(2))
    assert none.rank(1e12) == 0 and none.beta_for_rate(0) == 1.0
    with pytest.raises(InputError, match="uncorrelated"):
        none.beta_for_rate(1.0)


def test_few_samples_are_shrunk_or_refused():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((10, 20)), rng.standard_normal((10, 3))
    assert GaussianIB.fit(x, y).total < 3  # independent: the sample's own correlations would give infinity
    with pytest.raises(InputError, match="every correlation 1"):
        GaussianIB.fit(x, y, shrinkage=0)
    many = rng.standard_normal((5000, 2))
    noisy = many @ [[1.0], [2.0]] + rng.standard_normal((5000, 1))
    assert GaussianIB.fit(many, noisy).total == pytest.approx(0.5 * math.log2(6), abs=0.05)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (([[1.0]], [[2.0]], [[1.0]]), "canonical correlation"),
        (([[1.0, 0.0]], [[2.0]], [[1.0]]), "do not fit"),
        (([[np.nan]], [[0.0]], [[1.0]]), "not finite"),
        (([[-1.0]], [[0.0]], [[1.0]]), "negative eigenvalue"),
    ],
)
def test_covariances_that_are_none_are_refused(parts, text):
    with pytest.raises(InputError, match=text):
        GaussianIB.from_cov(*parts)
