"""How the server divides its processor: min over phi of V weight kappa f^3 - sum price_k phi_k slot, f = sum phi_k."""

from __future__ import annotations

import math

import numpy as np

from chappe.edge.scenario import Server

__all__ = ["server_power", "share_server"]


def share_server(server: Server, backlog: np.ndarray, price: np.ndarray, v: float, slot: float) -> np.ndarray:
    """(N,) speeds in Hz, exact: the devices with the highest price a cycle first, none more than backlog / slot.

    backlog (N,) cycles; price (N,) of a cycle, from 0 on. The sum stops where the next cycle costs more power than it
    is worth, 3 V weight kappa f^2 = price slot, or at the server's speed.
    """
    order = np.argsort(-price, kind="stable")
    want = backlog[order] / slot
    filled = np.cumsum(want)
    cost = 3 * v * server.weight * server.kappa
    worth = price[order] * slot
    with np.errstate(divide="ignore", invalid="ignore"):
        stop = np.sqrt(worth / cost) if cost > 0 else np.where(worth > 0, math.inf, 0.0)
    limit = np.minimum(stop, server.speed)  # falls along the order, as filled rises
    before = filled - want
    given = np.clip(np.minimum(filled, limit) - before, 0.0, want)
    speeds = np.empty(len(want))
    speeds[order] = given
    return speeds


def server_power(server: Server, speed: float) -> float:
    """W at `speed` Hz, not weighted."""
    return server.kappa * speed**3
