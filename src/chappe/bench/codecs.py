"""Any codec by name: a registered model, a classical codec, or an adapter of the user's."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
from functools import cache
from pathlib import Path

from chappe.codec import Codec, OperatingPoint, full_name, list_models, load
from chappe.errors import MissingDependency, UsageError

__all__ = [
    "ORIGINAL",
    "canonical_point",
    "codec_version",
    "known_codecs",
    "open_codec",
    "parse_point",
    "sends_labels",
]

ORIGINAL = "original"
"""The name under which rows of the uncoded pictures stand: 24 bpp, the ceiling of every judge."""


def known_codecs() -> list[str]:
    """Names `open_codec` takes, adapters apart: the registered models, then the classical codecs."""
    from chappe import classical

    return [*list_models(), *classical.NAMES]


@cache
def open_codec(name: str) -> Codec:
    """The codec of that name, opened once a process.

    name: a registered model (`chappe models`), a classical codec (`chappe.classical.NAMES`), or
    `module:function` or `path/to/file.py:function`: a function without arguments that returns a `Codec`.
    Raises UsageError for anything else, listing what exists; MissingDependency where a codec's library is absent.
    """
    if ":" in name:
        return _adapter(name)
    if full_name(name) in list_models():
        return load(name)
    from chappe import classical

    if name in classical.NAMES:
        return classical.load(name)
    known = known_codecs()
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(
        f"There is no codec {name!r}: {hint}the codecs are {', '.join(known)}, or module:function of an adapter."
    )


def _adapter(name: str) -> Codec:
    where, _, function = name.rpartition(":")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_module(where)
    except ModuleNotFoundError as error:
        if str(error.name) == where.split(".")[0] or str(error.name) == where:
            raise UsageError(f"Codec {name!r}: there is no module {where!r}, here or among the installed.") from error
        raise MissingDependency(f"Codec {name!r} needs the Python package {error.name!r}: install it.") from error
    except Exception as error:  # a stranger's file: whatever it raises, say which file it was
        raise UsageError(f"Codec {name!r}: {where} cannot be imported: {type(error).__name__}: {error}.") from error
    factory = getattr(module, function, None)
    if not callable(factory):
        raise UsageError(f"Codec {name!r}: {where} has no function {function!r} that makes the codec.")
    codec = factory()
    if not isinstance(codec, Codec):
        raise UsageError(f"Codec {name!r}: {function} returned {type(codec).__name__}, expected a chappe.codec.Codec.")
    return codec


def _from_module(where: str):
    here = os.getcwd()
    if here not in sys.path:  # a console script has its own folder there, not the one it was called in
        sys.path.append(here)
    return importlib.import_module(where)


def _from_file(path: Path):
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give path/to/file.py:function of an adapter.")
    name = f"chappe_adapter_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def codec_version(codec: Codec) -> str:
    """What a row records so that results of other weights or another library are never mixed up.

    The codec's `version` where it has one (classical codecs: library and number), else the fingerprint of its weights
    and a check of the encoder's settings, which may change while the weights stay.
    """
    version = getattr(codec, "version", None)
    if version:
        return str(version)
    parts = []
    if isinstance(fingerprint := getattr(codec, "fingerprint", None), int):
        parts.append(f"weights {fingerprint:04x}")
    if isinstance(settings := getattr(codec, "settings", None), dict):
        text = json.dumps(settings, sort_keys=True, default=str)
        parts.append(f"settings {hashlib.sha256(text.encode()).hexdigest()[:4]}")
    return ", ".join(parts)


def sends_labels(codec: Codec) -> bool:
    """Whether a label map travels in the codec's files: then it can be told the true one."""
    return codec.taxonomy is not None


def parse_point(codec: Codec, text: str) -> dict | None:
    """Keyword arguments of `codec.encode` for one point written as text.

    A rate ("0.04"), knobs ("bpp=0.04,map=near"), a rate with knobs ("0.04,map=near"), or the name of one of the codec's
    points. None for a name that this codec does not have (another codec of the same sweep may). Raises UsageError for
    text of no such form.
    """
    head, *knobs = [part.strip() for part in text.split(",")]
    settings: dict[str, float | int | str] = {}
    try:
        settings["bpp"] = float(head)
    except ValueError:
        if "=" in head:
            knobs.insert(0, head)
        else:
            names = {p.name: p for p in codec.points()}
            if head not in names:
                return None
            if not knobs:
                return {"point": names[head]}
            settings |= names[head].settings
    else:
        if not 0 < settings["bpp"] <= 24:
            raise UsageError(f"{text!r} is not a rate between 0 and 24 bits per pixel.")
        if not knobs:
            return {"bpp": settings["bpp"]}
    for knob in knobs:
        key, equals, value = knob.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{knob!r} in the point {text!r} is not of the form KEY=VALUE.")
        settings[key] = _number(value)
    return {"point": OperatingPoint(text, settings)}


def canonical_point(text: str) -> str:
    """One spelling for one point: ".04" and "4e-2" are "0.04", blanks after commas go."""
    head, *knobs = [part.strip() for part in text.split(",")]
    try:
        head = f"{float(head):g}"
    except ValueError:
        pass
    return ",".join((head, *knobs))


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
