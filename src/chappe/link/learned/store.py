"""Learned links as folders: float16 weights and a config.json that says what they are, made by `chappe train link`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import nn

from chappe.errors import ChappeError, InputError, UsageError
from chappe.link.digital import DigitalLink
from chappe.link.learned.analog import JsccLink
from chappe.link.learned.config import JsccConfig, MutualConfig, PcenConfig, PpenConfig
from chappe.link.learned.enhanced import enhanced
from chappe.link.learned.jscc import JsccNet
from chappe.link.learned.mutual import MutualPrecoder
from chappe.link.learned.pcen import PCEN
from chappe.link.learned.ppen import PPEN
from chappe.link.learned.scsc import ScscLink
from chappe.link.picture import Link

__all__ = ["BUNDLED", "SYSTEMS", "bundled", "load_folder", "read_parts", "save_folder"]

SYSTEMS = ("scsc", "adjscc", "deepjscc-mimo", "proxynet")
_WEIGHTS = Path(__file__).parents[2] / "weights"


def _newest() -> dict[str, Path]:
    """By the name that stands between "link-" and "-street-v<number>": the folder of the highest number."""
    found: dict[str, tuple[int, Path]] = {}
    homes = [_WEIGHTS, *map(Path, filter(None, [os.environ.get("CHAPPE_LINKS")]))]
    for folder in (folder for home in homes for folder in sorted(home.glob("link-*-street-v*"))):
        match = re.fullmatch(r"link-(.+)-street-v(\d+)", folder.name)
        if match and (folder / "config.json").is_file():
            found[match[1]] = max(found.get(match[1], (0, folder)), (int(match[2]), folder))
    return {name: folder for name, (_, folder) in sorted(found.items())}


BUNDLED = _newest()
"""Folders that ship and those in $CHAPPE_LINKS, by system, the newest of each. "mutual" is the mutual-information
precoder alone (QPSK, 2x2 antennas), "pcen" PCEN as printed; "scsc-noqa", which does not ship, SCSC trained without
quantisation-adaptive layers."""


def bundled(name: str) -> Path:
    """The folder of `BUNDLED`. Raises UsageError where none ships."""
    if name not in BUNDLED:
        raise UsageError(
            f"no weights of {name} ship (there are {', '.join(BUNDLED) or 'none'}): give a folder that "
            "chappe train link wrote, --weights DIR."
        )
    return BUNDLED[name]


PARTS = {"ppen": (PpenConfig, PPEN), "pcen": (PcenConfig, PCEN), "mutual": (MutualConfig, MutualPrecoder),
         "net": (JsccConfig, JsccNet)}  # fmt: skip


def save_folder(
    folder: Path, system: str, parts: Mapping[str, nn.Module], *, states: Mapping | None = None, **extra
) -> None:
    """Write the parts of a link: keys of `PARTS` -> modules. states: averaged weights in place of the modules' own.

    extra: entries of config.json beside the shapes, such as codec, mcs, recipe.
    """
    from chappe.training.export import save_model

    state = {}
    for name, module in parts.items():
        values = module.state_dict() if states is None else states[name]
        state |= {f"{name}.{key}": value for key, value in values.items()}
    shapes = {name: module.config.to_dict() for name, module in parts.items()}
    save_model(folder, state, {"kind": "link", "system": system, "parts": shapes}, **extra)


def read_parts(folder: str | Path) -> tuple[str, dict[str, nn.Module], dict]:
    """System, modules in evaluation mode and config.json. Raises InputError for a folder that is no learned link."""
    from chappe.training.export import load_model

    state, meta = load_model(Path(folder))
    config = meta["config"]
    shapes, system = config.get("parts"), config.get("system")
    known = isinstance(shapes, dict) and not set(shapes) - set(PARTS)
    if config.get("kind") != "link" or system not in SYSTEMS or not known:
        raise InputError(f"{folder}: is not a learned link: give a folder that chappe train link wrote.")
    parts = {}
    for name, shape in shapes.items():
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        try:
            net = _made(name, shape, own)
            net.load_state_dict(own)
        except (ChappeError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError, IndexError) as error:
            detail = " ".join(str(error).split())[:160]
            raise InputError(f"{folder}: the weights do not fit config.json ({detail}): train again.") from error
        if not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
            raise InputError(f"{folder}: the weights of {name} are not finite: train again.")
        parts[name] = net.eval().requires_grad_(False)
    return system, parts, meta


def _made(name: str, shape: dict, state: dict) -> nn.Module:
    """The module of a saved shape; a shape that asks for other arrays than there are is refused before it is made."""
    kind, module = PARTS[name]
    config = kind.from_dict(shape)
    if name in ("ppen", "net"):
        with torch.device("meta"):
            wanted = {key: value.shape for key, value in module(config).state_dict().items()}
        if wanted != {key: value.shape for key, value in state.items()}:
            raise InputError("other arrays than the shape asks for")
    return module(config)


def load_folder(
    folder: str | Path,
    radio: DigitalLink | None = None,
    *,
    codec: str | None = None,
    without: Collection[str] = (),
    adapt: bool = False,
    target: float = 0.1,
) -> Link:
    """The link of a folder on the channel, SNR and detector of `radio` (default: 2x2 Rayleigh, 6 dB).

    codec, adapt, target: of SCSC. without: "ppen" and "pcen" leave these parts out, for ablations.
    """
    system, parts, meta = read_parts(folder)
    if set(without) - {"ppen", "pcen"}:
        raise UsageError(f"An ablation leaves out ppen or pcen, not {', '.join(without)}.")
    radio = radio or DigitalLink()
    ppen = None if "ppen" in without else parts.get("ppen")
    enhancer = None if "pcen" in without else parts.get("pcen") or parts.get("mutual")
    if system != "scsc":
        if "net" not in parts:
            raise InputError(f"{folder}: {system} needs a network and has none: train again.")
        return JsccLink(system, parts["net"], radio, ppen=ppen, pcen=enhancer if system == "proxynet" else None)
    if enhancer is not None:
        radio = enhanced(radio, enhancer)
    return ScscLink(codec or meta.get("codec", "jpeg"), radio, ppen, adapt=adapt, target=target)
