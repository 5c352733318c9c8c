"""The edge: spend power, bits and CPU cycles so that the task still succeeds, on time. Names resolve on first use."""

from __future__ import annotations

from chappe.lazy import lazy_names

_HOMES = {
    "Arrivals": "scenario",
    "CMDPOptimal": "clairvoyant",
    "Channel": "scenario",
    "DriftPlusPenalty": "policies",
    "FixedPoint": "policies",
    "GaussianIB": "gib",
    "GreedyEnergy": "policies",
    "LPRandomised": "clairvoyant",
    "MaxRate": "policies",
    "OperatingPoint": "operating",
    "OperatingPointTable": "operating",
    "Report": "report",
    "Scenario": "scenario",
    "Server": "scenario",
    "ThresholdChannel": "policies",
    "VariationalIB": "vib",
    "capacity": "bounds",
    "cmdp_lp": "lp",
    "dual_certificate": "bounds",
    "dual_prices": "bounds",
    "make_env": "gym_env",
    "published_table": "operating",
    "read_table": "operating",
    "simulate": "simulation",
    "stationary_lp": "lp",
    "sweep": "tradeoff",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
