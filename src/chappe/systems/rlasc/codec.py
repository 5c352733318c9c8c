"""RL-ASC as a codec: the label map, and each concept's quantised features in a LAYER of its own.

A damaged or missing layer costs its concept, which the generator then imagines from the map; a file may be cut in front
of any. Rate control walks the allocator's proposals from cheap to dear by real bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

import numpy as np

from chappe.bitstream import container
from chappe.bitstream.concepts import CODERS, LEVELS, Concept, ConceptPrior, cell_concepts, decode_concept
from chappe.bitstream.container import Section, SectionType
from chappe.bitstream.salvage import salvage
from chappe.codec import Decoded, OperatingPoint, describe
from chappe.errors import InputError, StreamError, UsageError
from chappe.nn.tiling import pad_to_cells
from chappe.systems.mapstream import MapCodec, check_header, decode_map
from chappe.systems.rlasc.reward import TASKS
from chappe.systems.rlasc.sender import ALLOCATORS, Request, Sender
from chappe.taxonomy import relevance

if TYPE_CHECKING:
    from torch import nn

    from chappe.systems.rlasc.engine import TiledEngine
    from chappe.systems.rlasc.model import RLASC
    from chappe.systems.rlasc.policy import Policy

__all__ = ["AGENT", "KNOBS", "RLASCCodec", "Symbols", "load_folder", "load_networks", "load_street"]

WEIGHTS = Path(__file__).parents[2] / "weights"
KNOBS = ("allocator", "bpp", "coder", "lambda", "level", "map", "map_share", "relevance", "task")
LAMBDA = (1e-3, 1e4)
AGENT = "agent-{}.safetensors"  # in a model folder: the agent of a task that was trained after the model
MAP_RECEIVED = 127  # of `Decoded.received`: the class arrived and the features did not


@dataclass(frozen=True, eq=False)
class Symbols:
    """What a file holds before any network runs: `labels` (H, W) uint8, `cells` (h, w) uint8, the concepts that came
    with the bytes of each, and what did not come, in one line or None."""

    labels: np.ndarray
    cells: np.ndarray
    concepts: dict[int, Concept]
    sizes: dict[int, int]
    missing: str | None


class RLASCCodec(MapCodec):
    """See `MapCodec`. `settings` also has a `sensitivity` (M, Q) for each task (`Concepts.losses`); `prior` is what the
    concept coder starts from."""

    def __init__(self, name: str, codec_id: int, fingerprint: int, engine: TiledEngine, settings: dict,
                 segment: Callable | None = None, prior: ConceptPrior | None = None):  # fmt: skip
        config = engine.config
        super().__init__(name, codec_id, fingerprint, settings, config.taxonomy, config.concepts, segment)
        self.engine, self.prior = engine, prior

    def decode(self, blob: bytes) -> Decoded:
        symbols = self.symbols(blob)
        config = self.engine.config
        values = np.zeros((*symbols.cells.shape, config.channels), np.int8)
        levels = np.zeros(symbols.cells.shape, np.uint8)
        for concept in symbols.concepts.values():
            values += concept.values
            levels[symbols.cells == concept.number] = concept.level
        picture = self.engine.restore(values, levels, symbols.cells, pad_to_cells(symbols.labels))
        height, width = symbols.labels.shape
        received = None
        if symbols.missing:
            arrived = np.where(levels > 0, 255, MAP_RECEIVED).astype(np.uint8)
            received = np.repeat(np.repeat(arrived, 8, 0), 8, 1)[:height, :width]
        image = np.ascontiguousarray(picture[:height, :width])
        return Decoded(image, symbols.labels, self.taxonomy, describe(blob)[0], received, symbols.missing)

    def symbols(self, blob: bytes) -> Symbols:
        """Labels and concepts of a file, whole or not, without the picture. Raises as `decode`."""
        header, sections, complete = salvage(blob, SectionType.LAYER)
        check_header(self, self.fingerprint, header)
        if complete:
            container.read(blob)  # refuses what a sound file may not hold
        shape = (header.height, header.width)
        labels = decode_map({s.type: s.payload for s in sections}, shape, self.classes, self.taxonomy)
        if labels is None:
            raise StreamError("the file has no whole label-map section, without which no concept has a place")
        cells = cell_concepts(labels, self.classes, self.engine.config.vote)
        found, sizes = {}, {}
        for section in sections:
            if section.type != SectionType.LAYER:
                continue
            args = section.payload, cells, self.engine.config.channels, self.classes
            try:
                concept = decode_concept(*args, prior=self.prior)
            except StreamError:
                if complete:  # no transmission error: the file never was one
                    raise
                continue
            if concept.number in found and complete:
                raise StreamError(f"the file sends concept {concept.number} twice: it is damaged")
            if concept.number in found:
                continue
            found[concept.number], sizes[concept.number] = concept, section.size
        return Symbols(labels, cells, found, sizes, None if complete else self._note(cells, found))

    def allocation(self, blob: bytes) -> dict[str, tuple[int, int]]:
        """Level and bytes (framing included) of every class that has a cell in a file's picture, in class order."""
        from chappe.taxonomy import get_taxonomy

        symbols = self.symbols(blob)
        names = get_taxonomy(self.taxonomy).classes
        present = np.unique(symbols.cells).tolist()
        kept = {m: (symbols.concepts[m].level, symbols.sizes[m]) for m in symbols.concepts}
        return {names[m]: kept.get(m, (0, 0)) for m in present}

    def sensitivity(self, task: str) -> np.ndarray:
        """(M, Q) what the task loses at each level, by class: see `Concepts.losses`."""
        return np.asarray(self.settings["sensitivity"][task], np.float64)

    def segmenter(self):
        """The sender's own segmenter, for tasks that are rewarded while encoding."""
        if self._segment is not None:
            return self._segment
        from chappe.segment.builtin import load_segmenter

        return load_segmenter()

    def _note(self, cells: np.ndarray, found: dict[int, Concept]) -> str:
        lost = np.isin(cells, list(found), invert=True).mean()
        note = f"{len(found)} concepts arrived, {lost:.0%} of the cells have their class alone"
        return "the file is cut or damaged: " + note.replace("%", " %")

    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None) -> Request:
        values = {} if point is None else dict(self.find_point(point).settings)
        unknown = sorted(set(values) - set(KNOBS))
        if unknown:
            raise UsageError(f"{self.name} has no setting {unknown[0]!r}; it has {', '.join(KNOBS)}")
        if bpp is not None:
            values["bpp"] = bpp
        fixed = [key for key in ("bpp", "lambda", "level") if key in values]
        if len(fixed) > 1:
            raise UsageError(f"{' and '.join(fixed)} each fix the rate: give one of them")
        lam, level = values.get("lambda"), values.get("level")
        if lam is not None and not LAMBDA[0] <= float(lam) <= LAMBDA[1]:
            raise UsageError(f"lambda={lam} is not a price of a bit per pixel from {LAMBDA[0]:g} to {LAMBDA[1]:g}")
        if level is not None and level not in range(LEVELS):
            raise UsageError(f"level={level} is not a level of quantisation, 0 to {LEVELS - 1}")
        total = None if lam is not None or level is not None else float(values.get("bpp", self.settings["bpp"]))
        share = values.get("map_share")
        if share is not None and not 0 < float(share) < 1:
            raise UsageError(f"map_share={share} is not a share between 0 and 1")
        return Request(
            None if total is None else total * pixels / 8, None if lam is None else float(lam), level,
            self._choice(values, "map", ("near", "lossless")), share and float(share),
            self._choice(values, "allocator", ALLOCATORS), self._task(values),
            self._choice(values, "coder", CODERS, "range"), self._weights(values.get("relevance")),
        )  # fmt: skip

    def _choice(self, values: dict, key: str, known: tuple[str, ...], usual: str | None = None) -> str:
        value = values.get(key, usual or self.settings[key])
        if value not in known:
            raise UsageError(f"{key}={value!r} is not one of {', '.join(known)}")
        return value

    def _task(self, values: dict) -> str:
        tasks = tuple(self.settings["sensitivity"])
        task = values.get("task", self.engine.config.tasks[0])
        if values.get("allocator") == "search":  # measures: nothing needs to be trained
            tasks = TASKS
        if task not in tasks:
            raise UsageError(f"task={task!r} is none that {self.name} can steer by: it knows {', '.join(tasks)}")
        return task

    def _weights(self, steer: str | Mapping | None) -> np.ndarray | None:
        if not isinstance(steer, (str, Mapping, NoneType)):
            raise UsageError(f'relevance={steer!r} is not a profile: write "person=1,sign=1,sky=0", for one')
        return None if steer is None else relevance(steer, self.taxonomy)

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: Request) -> list[Section]:
        return Sender(self, image, labels, rate).sections()


def load_street() -> RLASCCodec:
    """The bundled `rlasc-street` model."""
    return load_folder(WEIGHTS / "rlasc-street-v1", "rlasc-street", 8)


def load_folder(folder: Path, name: str, codec_id: int, segment: Callable | None = None) -> RLASCCodec:
    """A model folder as `chappe train rlasc` writes it. Raises InputError where it is incomplete."""
    from chappe.modelfolder import fingerprint, read_meta
    from chappe.systems.rlasc.engine import Engine

    model, prior, agents = load_networks(folder)
    settings = read_meta(folder)["codec"]
    return RLASCCodec(name, codec_id, fingerprint(folder), Engine(model, agents), settings, segment, prior)


def load_networks(folder: Path) -> tuple[RLASC, ConceptPrior | None, dict[str, Policy]]:
    """The autoencoder of a model folder, what its concept coder starts from, and the agent of each task.

    The agents of the model's own tasks are among its weights, others in `agent-TASK.safetensors` beside them: only the
    sender has agents, so one more of these changes no fingerprint and no file. Raises InputError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from chappe.files import read_bytes
    from chappe.systems.rlasc.config import RLASCConfig
    from chappe.systems.rlasc.model import RLASC
    from chappe.systems.rlasc.policy import Policy
    from chappe.training.export import load_model

    state, meta = load_model(folder)
    config = RLASCConfig.from_dict({k: v for k, v in meta["config"].items() if k != "kind"})
    model, agents = RLASC(config), {}
    _fill(model, state, "net.", folder)
    for task in meta["codec"]["sensitivity"]:
        agents[task], path = Policy(config), Path(folder) / AGENT.format(task)
        if task in config.tasks:
            _fill(agents[task], state, f"agent.{task}.", folder)
            continue
        try:
            own = load(read_bytes(path))
        except SafetensorError as error:
            raise InputError(f"{path}: the weights are damaged ({error}): get them again.") from error
        _fill(agents[task], {k: v.float() for k, v in own.items()}, "", path)
    tables = {k.removeprefix("prior."): v.numpy() for k, v in state.items() if k.startswith("prior.")}
    return model, ConceptPrior(config.channels, config.concepts, **tables) if tables else None, agents


def _fill(module: nn.Module, state: dict, prefix: str, where: Path) -> None:
    """Load the part of `state` whose names begin with `prefix`."""
    own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    missing, unexpected = module.load_state_dict(own, strict=False)
    if missing or unexpected:
        part = prefix.rstrip(".") or "the agent"
        lists = f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        raise InputError(f"{where}: the weights of {part} do not fit config.json ({lists})")
