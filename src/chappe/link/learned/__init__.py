"""Links with trained parts: SCSC and its ablations, ADJSCC, DeepJSCC-MIMO, ProxyNet. Names resolve on first use.

from chappe.link.learned import load_folder
far = load_folder("runs/adjscc/weights").transmit("street.jpg", cbr="1/12", seed=0)
"""

from __future__ import annotations

from chappe.lazy import lazy_names

_HOMES = {
    "EnhancedLink": "enhanced",
    "FecModel": "fec",
    "JsccLink": "analog",
    "JsccNet": "jscc",
    "MutualPrecoder": "mutual",
    "PCEN": "pcen",
    "PPEN": "ppen",
    "ScscLink": "scsc",
    "load_folder": "store",
    "save_folder": "store",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
