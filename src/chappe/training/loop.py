"""One training loop for every model: seeded steps, EMA, exact resume, a log line a minute.

A `Task` owns its modules and optimisers and knows how to do one step; the loop owns time. Every random draw of
step k comes from generators seeded by (seed, k), so a run that was killed and resumed from its last checkpoint
ends with the same bits as one that was not (same machine, same thread count).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from chappe.errors import InputError

__all__ = ["LoopConfig", "Task", "average_gradients", "ema_state", "train"]


class Task(Protocol):
    """What the loop trains. `modules` are saved and resumed; those named in `ema` are also averaged."""

    name: str
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    ema: tuple[str, ...]

    def prepare(self, accelerator) -> None:
        """Move modules and optimisers to the accelerator's device."""

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        """One optimiser step; returns figures to log (means over the minute are printed)."""


@dataclass(frozen=True)
class LoopConfig:
    out: Path
    steps: int
    seed: int = 0
    ema_decay: float = 0.999
    log_every_s: float = 60.0
    save_every_s: float = 180.0
    minutes: float | None = None  # stop (resumably) after this much wall time
    quiet: bool = False


def train(task: Task, config: LoopConfig) -> dict[str, dict[str, torch.Tensor]] | None:
    """Run `task` to `config.steps`, resuming from `out/state.pt` when it exists; returns the EMA state of each module.

    Ctrl-C, SIGTERM or `config.minutes` finish the current step, save and return None. Logs to `out/log.jsonl`, a line a
    minute; on a terminal a progress bar shows the steps.
    """
    from accelerate import Accelerator

    config.out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator()
    task.prepare(accelerator)
    ema = {name: _snapshot(task.modules[name]) for name in task.ema}
    step = _resume(task, ema, config)
    started = saved = logged = time.monotonic()
    first = step
    sums: dict[str, float] = {}
    count = 0
    stop = _StopFlag()
    shown = accelerator.is_main_process and not config.quiet
    log_path = config.out / "log.jsonl" if accelerator.is_main_process else Path(os.devnull)
    bar = tqdm(total=config.steps, initial=step, desc=task.name, disable=not (shown and sys.stderr.isatty()))
    with stop, bar, open(log_path, "a", encoding="utf-8") as log:
        while step < config.steps and not stop.raised:
            rng = _seed_step(config.seed, step, accelerator.process_index)
            figures = task.step(step, step / config.steps, rng)
            step += 1
            bar.update()
            _update_ema(task, ema, min(config.ema_decay, (1 + step) / (10 + step)))
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + float(value)
            count += 1
            now = time.monotonic()
            if now - logged >= config.log_every_s or step == config.steps:
                row = {k: round(v / count, 5) for k, v in sums.items()}
                rate = (step - first) / (now - started)
                row = {"step": step, "of": config.steps, "per_s": round(rate, 3), **row}
                log.write(json.dumps(row) + "\n")
                log.flush()
                if shown:
                    eta = (config.steps - step) / max(rate, 1e-9) / 60
                    bar.write(f"[{task.name}] {json.dumps(row)} eta {eta:.0f} min", file=sys.stderr)
                sums, count, logged = {}, 0, now
            out_of_time = config.minutes is not None and now - started > config.minutes * 60
            if now - saved >= config.save_every_s or out_of_time:
                _save(task, ema, step, config, accelerator)
                saved = now
            if out_of_time:
                break
        _save(task, ema, step, config, accelerator)
    return ema if step >= config.steps else None


def ema_state(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The averaged weights in a checkpoint folder, one state dict a module."""
    return _load(out / "state.pt")["ema"]


def average_gradients(module: nn.Module) -> None:
    """Mean of the gradients over all processes, in place; call between backward and the optimiser. Nothing when alone.

    Used instead of a wrapper, so that a task may call any method of its modules; every process starts from the same
    weights and sees other pictures.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    world = torch.distributed.get_world_size()
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world


class _StopFlag:
    """Turns the first SIGINT/SIGTERM into a flag, so that a step is never cut in half; the second one kills."""

    raised = False

    def __enter__(self):
        self._old = {}
        for sig in (signal.SIGINT, signal.SIGTERM):
            try:
                self._old[sig] = signal.signal(sig, self._raise)
            except ValueError:  # not the main thread: the caller keeps its own handling
                pass
        return self

    def _raise(self, *_):
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True

    def __exit__(self, *_):
        for sig, handler in self._old.items():
            signal.signal(sig, handler)


def _seed_step(seed: int, step: int, rank: int) -> np.random.Generator:
    words = np.random.SeedSequence([seed, step, rank]).generate_state(2)
    torch.manual_seed(int(words[0]))
    random.seed(int(words[1]))
    return np.random.default_rng([seed, step, rank])


def _snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


@torch.no_grad()
def _update_ema(task: Task, ema: dict, decay: float) -> None:
    for name, average in ema.items():
        for key, value in task.modules[name].state_dict().items():
            if value.is_floating_point():
                average[key].lerp_(value, 1 - decay)
            else:
                average[key].copy_(value)


def _save(task: Task, ema: dict, step: int, config: LoopConfig, accelerator) -> None:
    if not accelerator.is_main_process:
        return
    state = {
        "step": step,
        "seed": config.seed,
        "ema": ema,
        "modules": {k: m.state_dict() for k, m in task.modules.items()},
        "optimizers": {k: o.state_dict() for k, o in task.optimizers.items()},
        "rng": torch.get_rng_state(),
    }
    partial = config.out / "state.pt.partial"
    torch.save(state, partial)
    os.replace(partial, config.out / "state.pt")


def _load(path: Path) -> dict:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not a checkpoint of this loop ({error}); delete it to start afresh") from error


def _resume(task: Task, ema: dict, config: LoopConfig) -> int:
    path = config.out / "state.pt"
    if not path.exists():
        return 0
    state = _load(path)
    if state["seed"] != config.seed:
        raise InputError(f"{path}: was trained with seed {state['seed']}, not {config.seed}; use another --out folder")
    for name, module in task.modules.items():
        module.load_state_dict(state["modules"][name])
    for name, optimizer in task.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    for name, average in ema.items():
        for key, value in state["ema"][name].items():
            average[key].copy_(value)
    torch.set_rng_state(state["rng"])
    return int(state["step"])
