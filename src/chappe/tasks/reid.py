"""Person re-identification as RL-ASC scores it: identity logits under a label-smoothed cross-entropy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UsageError
from .classification import Classification

__all__ = ["Reidentification"]


class Reidentification(Classification):
    """`Classification` over K identities with the smoothed truth of RL-ASC eq. (10) in the loss of eq. (9).

    `network`: a callable from a picture of a person to (K,) identity logits. `epsilon`: the smoothing, 0.1 by default
    (the paper says "a small hyper parameter"). Raises `UsageError` for epsilon outside 0..1.
    """

    name = "reidentification"

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], epsilon: float = 0.1) -> None:
        if not 0 <= epsilon < 1:
            raise UsageError(f"label smoothing takes epsilon in 0..1, found {epsilon}.")
        super().__init__(network)
        self.epsilon = epsilon
