"""SQ-GAN's model folders, and the bundled ones by version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chappe.bitstream.tokenmix_prior import TokenPrior, unpack_priors
from chappe.errors import InputError
from chappe.files import read_bytes
from chappe.modelfolder import TOKENS, fingerprint, read_arrays, read_meta
from chappe.systems.sqgan.analysis import TiledEngine
from chappe.systems.sqgan.codec import ReadingCodec, SQGANCodec
from chappe.systems.sqgan.config import SQGANConfig
from chappe.systems.sqgan.street import StreetCodec

if TYPE_CHECKING:
    from chappe.backends import Backend

__all__ = ["load_folder", "load_street", "load_street_v1", "load_street_v2"]

WEIGHTS = Path(__file__).parents[2] / "weights"
NOT_SHAPE = ("kind", "map_from", "shares")  # entries of a folder's config that say nothing of the networks' shape


def load_street(backend: Backend | None = None) -> StreetCodec:
    """The bundled `sqgan-street` model, version 3."""
    return load_folder(WEIGHTS / "sqgan-street-v3", "sqgan-street", 4, backend)


def load_street_v2(backend: Backend | None = None) -> SQGANCodec:
    """Version 2, for the files it wrote."""
    return load_folder(WEIGHTS / "sqgan-street-v2", "sqgan-street-v2", 3, backend, SQGANCodec)


def load_street_v1(backend: Backend | None = None) -> SQGANCodec:
    """Version 1, for the files it wrote: it does not encode."""
    return load_folder(WEIGHTS / "sqgan-street-v1", "sqgan-street-v1", 1, backend, ReadingCodec)


def load_folder(
    folder: Path, name: str, codec_id: int, backend: Backend | None = None, make: type[SQGANCodec] = StreetCodec
) -> SQGANCodec:
    """A model folder as `chappe train sqgan` writes it. Raises InputError where it is incomplete.

    `shares` in its configuration lists folders beside it, each with its fingerprint, whose arrays under `prefixes` it
    takes over; `map_from` is the same for the map pipeline alone. Its own arrays come first, then those of the folder
    listed first. `dropped`, beside `config`, names by their prefixes arrays that it does without, because only its
    sender needed them. Without a `backend` torch runs the networks.
    """
    meta = read_meta(folder)
    config = SQGANConfig.from_dict({k: v for k, v in meta["config"].items() if k not in NOT_SHAPE})
    homes = [(folder, ("",)), *_shared(folder, meta["config"])]
    priors: dict[str, Any] = {}
    for home, prefixes in homes:
        found = {
            key: table for key, table in read_arrays(home, "prior.").items() if f"prior.{key}".startswith(prefixes)
        }
        priors = found | priors
    weights = fingerprint(folder)
    if backend is None:
        engine, segment = _torch_engine(folder, homes, config, tuple(meta.get("dropped", ()))), None
    else:
        engine, segment = TiledEngine(config, backend.networks(name, weights)), backend.segment
    extra = {"token_priors": _token_priors(folder)} if make is StreetCodec else {}
    return make(name, codec_id, weights, engine, meta["codec"], priors, segment, **extra)


def _shared(folder: Path, config: dict) -> list[tuple[Path, tuple[str, ...]]]:
    shares = list(config.get("shares", ()))
    if "map_from" in config:
        shares.append(config["map_from"] | {"prefixes": ["map.", "prior.map"]})
    homes = []
    for share in shares:
        home = folder.parent / share["folder"]
        if fingerprint(home) != share["fingerprint"]:
            raise InputError(f"{home}: is not the model that {folder.name} shares weights with: install both again")
        homes.append((home, tuple(share["prefixes"])))
    return homes


def _token_priors(folder: Path) -> dict[str, TokenPrior]:
    """What the folder's tokens.bin says, by stream; nothing without one."""
    return unpack_priors(read_bytes(folder / TOKENS)) if (folder / TOKENS).is_file() else {}


def _torch_engine(
    folder: Path, homes: list[tuple[Path, tuple[str, ...]]], config: SQGANConfig, dropped: tuple[str, ...]
) -> TiledEngine:
    from chappe.systems.sqgan.engine import Engine
    from chappe.systems.sqgan.model import SQGAN
    from chappe.training.export import TRAINING_ONLY, load_model

    state: dict[str, Any] = {}
    for home, prefixes in homes:
        state = {k: v for k, v in load_model(home)[0].items() if k.startswith(prefixes)} | state
    model = SQGAN(config)
    missing, unexpected = model.load_state_dict({k: v for k, v in state.items() if k[:6] != "prior."}, strict=False)
    missing = [key for key in missing if not key.endswith(TRAINING_ONLY) and not key.startswith(dropped)]
    if missing or unexpected:
        raise InputError(
            f"{folder}: the weights do not fit config.json (missing {missing[:3]}, unexpected {unexpected[:3]})"
        )
    engine = Engine(model)
    for stream in ("map", "image"):  # an encoder that was never filled must not run, nor be exported
        if any(prefix.startswith(f"{stream}.") for prefix in dropped):
            del engine.run.networks[f"analyse_{stream}"]
    return engine
