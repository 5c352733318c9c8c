"""The variational bottleneck where the truth is known: the Gaussian curve, and a square unseen by second moments."""

from __future__ import annotations

import numpy as np
import pytest

from chappe.edge.gib import GaussianIB
from chappe.edge.vib import VariationalIB
from chappe.errors import InputError


def test_a_linear_one_reaches_the_gaussian_curve():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 4)) @ rng.standard_normal((4, 4))
    y = x @ rng.standard_normal((4, 2)) / 3 + rng.standard_normal((4000, 2))
    gib = GaussianIB.fit(x, y, shrinkage=0)
    vib = VariationalIB.fit(x, y, [2.0, 4.0], size=3, hidden=(), steps=200, lr=3e-2, batch=512)
    for beta in (2.0, 4.0):
        found, curve = vib.info(beta), gib.info(gib.beta_for_rate(vib.info(beta).tx)).ty
        assert found.tx == pytest.approx(gib.info(beta).tx, abs=0.1)
        assert curve - 0.05 < found.ty < curve + 0.03  # 200 steps from below; held-out noise of 0.01 bit
        assert vib.mse(beta) == pytest.approx(gib.mse(beta), rel=0.05)
    rate = (vib.info(2.0).tx + vib.info(4.0).tx) / 2
    assert vib.info(vib.beta_for_rate(rate)).tx == pytest.approx(rate, rel=1e-6)
    assert vib.encoder(4.0)(x[:5]).shape == (5, 3)
    assert vib.coded_bits(4.0) > vib.info(4.0).tx
    with pytest.raises(InputError, match="trained for beta"):
        vib.info(100.0)


def test_it_sees_what_second_moments_do_not():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4000, 2))
    label = (x[:, 0] ** 2 > 0.455).astype(int)  # the median: one bit, uncorrelated with x
    assert GaussianIB.fit(x, label[:, None].astype(float), shrinkage=0).total < 0.01
    vib = VariationalIB.fit(x, label, [16.0], size=2, hidden=(16,), steps=150, lr=2e-2, batch=256)
    assert 0.4 < vib.info(16.0).ty <= min(1.0, vib.info(16.0).tx)
    with pytest.raises(InputError, match="no mean squared error"):
        vib.mse(16.0)
