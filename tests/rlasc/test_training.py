"""Rewards, the three stages, exact resume, and the command from a data folder to a codec."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from chappe.bitstream.concepts import LEVELS
from chappe.cli import main
from chappe.codec import OperatingPoint
from chappe.data.scenes import render_scene
from chappe.errors import InputError, UsageError
from chappe.image import write_image, write_labels
from chappe.metrics import Boxes
from chappe.systems.rlasc import config as shapes
from chappe.systems.rlasc.agent import AgentTask, Episode, FinetuneTask, agent_config
from chappe.systems.rlasc.codec import AGENT, load_folder
from chappe.systems.rlasc.engine import Engine
from chappe.systems.rlasc.model import RLASC
from chappe.systems.rlasc.policy import Policy
from chappe.systems.rlasc.reward import Criterion, make_task
from chappe.systems.rlasc.rl import Reinforce
from chappe.systems.rlasc.train import sensitivity_table
from chappe.systems.rlasc.training import AutoencoderTask, TrainConfig, random_levels, stage_config
from chappe.tasks import Classification, Detection, Reidentification
from chappe.training.frames import Frames
from chappe.training.loop import LoopConfig, train
from rlasc_toys import PAPER, TINY, Segmenter

FRAMES = Frames.from_samples(render_scene(seed, size=(64, 96)) for seed in (41, 42))
PICTURE = FRAMES.images[0]


def _autoencoder(shape=TINY, **recipe) -> AutoencoderTask:
    torch.manual_seed(0)
    config = replace(stage_config("street"), size=(32, 64), paste_most=0, segmented_share=0.5, **recipe)
    segment = lambda x: x.repeat(1, 4, 1, 1)[:, :11]  # noqa: E731
    return AutoencoderTask(RLASC(shape), config, FRAMES, segment=segment)


def _finetune() -> FinetuneTask:
    autoencoder = _autoencoder(gan_weight=0.1, disc_width=4)
    policy, engine = Policy(TINY), Engine(autoencoder.model)
    criterion = Criterion(make_task("soft", Segmenter()))
    recipe = replace(agent_config("street"), size=(32, 64))
    batches = replace(autoencoder.batches, batch=1)
    return FinetuneTask(autoencoder, AgentTask(policy, engine, recipe, batches, criterion, np.ones(12)))


def test_rewards_of_an_episode_telescope_and_count_real_bytes(segmenter):
    torch.manual_seed(0)
    engine = Engine(RLASC(TINY))
    episode = Episode(engine, PICTURE[:64, :64], FRAMES.labels[0][:64, :64], Criterion(make_task("soft", segmenter)))
    levels = np.arange(episode.steps) % LEVELS
    dense, late = (episode.rewards(levels, 0.5, how) for how in ("telescoping", "terminal"))
    bits = sum(episode.concepts.size(m, q) for m, q in zip(episode.concepts.numbers, levels, strict=True)) * 8
    first, last = episode.quality(np.zeros_like(levels)), episode.quality(levels)
    expected = first - last - 0.5 * bits / (64 * 64)
    assert len(dense) == episode.steps > 3
    assert float(dense.sum()) == pytest.approx(expected) and float(late.sum()) == pytest.approx(expected)
    payloads = [episode.concepts.payload(m, q) for m, q in zip(episode.concepts.numbers, levels, strict=True) if q]
    assert abs(8 * sum(len(p) + 4 for p in payloads) - bits) <= 8 * len(payloads)


def test_sensitivities_are_a_slope_for_each_class_and_one_shape():
    rng = np.random.default_rng(0)
    shape = np.array([1, 0.1, 0.04, 0.02, 0.01, 0.0])
    error = np.array([1, 0.4, 0.2, 0.1, 0.05, 0.02])
    slopes, numbers = np.array([1.0, 3.0, 0.5, 0.0]), rng.integers(0, 3, 400)
    size = rng.uniform(0.5, 2, 400)
    measured = (slopes[numbers] * size)[:, None] * (shape - shape[2])
    table = sensitivity_table(numbers, size[:, None] * error, measured, 4)
    np.testing.assert_allclose(table[:3] / table[:3, :1], np.tile(0.9 * shape + 0.1 * error, (3, 1)), atol=1e-6)
    np.testing.assert_allclose(table[:3, 0] / table[0, 0], slopes[:3], rtol=1e-6)
    assert table[3, 0] == pytest.approx(np.median(table[:3, 0]))  # not met: the median
    assert (np.diff(table, axis=1) <= 0).all()
    level_one = measured[:, :1] - measured[:, 1:2]  # what it is for: level 1 takes nearly all of the loss away
    assert np.abs(size[:, None] * (table[numbers, :1] - table[numbers, 1:2]) / level_one - 1).max() < 0.1


def test_the_criterion_adds_semantic_and_perceptual_loss(segmenter):
    dark = PICTURE // 2
    distance = lambda a, b: (a - b).abs().mean()[None]  # noqa: E731
    soft = make_task("soft", segmenter)
    criterion = Criterion(soft, 3.0, distance)
    reference = criterion.reference(PICTURE)
    semantic = soft.score(soft.run(dark), soft.run(PICTURE))["loss"]
    apart = np.abs(dark.astype(float) - PICTURE).mean() / 127.5
    assert criterion.quality(dark, reference) == pytest.approx(semantic + 3 * apart, rel=1e-5)
    assert criterion.loss(dark, reference, 0.2, 5.0) == pytest.approx(semantic + 3 * apart + 1.0, rel=1e-5)
    assert Criterion(soft, 3.0).quality(dark, reference) == pytest.approx(semantic + 3 * apart, rel=1e-5)
    same = make_task("segmentation", segmenter)
    assert Criterion(same).quality(PICTURE, Criterion(same).reference(PICTURE)) == 0


def test_every_task_of_the_paper_rewards():
    # eq. (7): the found box covers half of the true one; eq. (9), (10): logits 0, 0, ln 2 give 1/4, 1/4, 1/2
    boxes = lambda x: Boxes(np.array([[0.0, 0, 8, 8 if x.mean() > 9 else 4]]), np.array([1]), np.array([0.9]))  # noqa: E731
    logits = lambda x: np.array([0, 0, math.log(2)]) if x.mean() < 9 else np.array([0.0, 9, 0])  # noqa: E731
    bright, dark = np.full((8, 8, 3), 99, np.uint8), np.zeros((8, 8, 3), np.uint8)
    smooth = 0.1
    for task, expected in (
        (Detection(boxes), math.log(2)),
        (Classification(logits), math.log(4)),
        (Reidentification(logits, smooth), (1 - smooth) * math.log(4) + smooth / 2 * math.log(8)),
    ):
        criterion = Criterion(task, eta=0.0)
        found = criterion.quality(dark, criterion.reference(bright))
        assert found in (pytest.approx(expected), pytest.approx(expected / 3)), task.name  # eq. (9) may carry 1 / M
    nothing = Detection(
        lambda x: Boxes(np.zeros((int(x.mean() > 9), 4)), np.zeros(int(x.mean() > 9)), np.ones(int(x.mean() > 9)))
    )
    assert Criterion(nothing, eta=0.0).quality(dark, Criterion(nothing).reference(bright)) == 5.0


def test_unknown_tasks_are_refused(segmenter):
    for name in ("sleep", "classification"):
        with pytest.raises(UsageError, match="no task"):
            make_task(name, segmenter)
    assert make_task("classification", segmenter, lambda x: np.zeros(3)).name == "classification"


def test_an_agent_learns_what_a_concept_is_worth(segmenter):
    """From a uniform start, terminal rewards alone: the policy comes to prefer what the exact reward prefers."""
    torch.manual_seed(0)
    shape = replace(TINY, agent=replace(TINY.agent, start="uniform", dropout=0.0))
    task = _agent(shape, Reinforce(gamma=1.0, entropy=0.0, rollouts=6), lr=0.02)
    labels = np.zeros((64, 64), np.uint8)
    labels[:, 32:] = 3
    episode = Episode(task.engine, PICTURE[:64, :64], labels, task.criterion)
    episode.quality = lambda levels: -float(levels[0] == 4) - 0.3 * float(levels[1] == 0)
    episode.concepts.__dict__["rates"] = np.zeros((2, LEVELS))
    for _ in range(120):
        loss, _ = task.episode(episode, 1.0)
        task.optimizers["policy"].zero_grad()
        loss.backward()
        task.optimizers["policy"].step()
    levels = [task.policy.eval(), _likeliest(task, episode)][1]
    assert levels.tolist() == [4, 0]


def _agent(shape, reinforce, lr) -> AgentTask:
    engine = Engine(RLASC(shape))
    recipe = replace(agent_config("street"), reinforce=reinforce, lr=lr)
    return AgentTask(Policy(shape), engine, recipe, None, Criterion(make_task("soft", Segmenter())), np.ones(12))


def _likeliest(task, episode) -> np.ndarray:
    task.engine.agents["x"] = task.policy
    c = episode.concepts
    return task.engine.decide("x", c.features, c.cells, c.numbers, np.ones((1, 2)), c.rates, c.losses(np.ones(12)))[0]


@pytest.mark.parametrize("kind", ["autoencoder", "finetune"])
def test_stopped_and_resumed_is_bit_identical(tmp_path, kind):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    make = _finetune if kind == "finetune" else lambda: _autoencoder(gan_weight=0.1, disc_width=4)
    loop = {"steps": 4, "save_every_s": 0, "quiet": True}
    try:
        train(make(), LoopConfig(tmp_path / "whole", **loop))
        stopped = make()
        step = stopped.step
        stopped.step = lambda k, *rest: step(k, *rest) if k < 2 else exec("raise InterruptedError")
        with pytest.raises(InterruptedError):
            train(stopped, LoopConfig(tmp_path / "stopped", **loop))
        train(make(), LoopConfig(tmp_path / "stopped", **loop))
    finally:
        torch.set_num_threads(threads)
    whole, resumed = (torch.load(tmp_path / k / "state.pt", weights_only=True) for k in ("whole", "stopped"))
    assert whole["step"] == 4 and _same(whole, resumed)


def _same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_stage_one_descends():
    task = _autoencoder(perceptual_weight=0.0)
    task.device = torch.device("cpu")
    rows = []
    for _ in range(12):
        torch.manual_seed(0)
        rows.append(task.step(100, 0.0, np.random.default_rng(0)))
    assert rows[-1]["pixel"] < rows[0]["pixel"] and rows[-1]["rate"] > 0


def test_levels_are_the_top_ones_or_drawn():
    paper = AutoencoderTask(RLASC(PAPER), replace(TrainConfig(gan_weight=0), size=(32, 64)), FRAMES)
    assert (paper.levels(torch.zeros(2, 3, 8, 8), None, None) == LEVELS - 1).all()
    drawn = random_levels(400, 12, np.random.default_rng(0))
    assert set(drawn.flatten().tolist()) == set(range(LEVELS))
    follow = (drawn == drawn.mode(1).values[:, None]).double().mean()
    assert 0.5 < follow < 0.75


def test_the_command_trains_all_stages_and_writes_a_codec(tmp_path, monkeypatch):
    monkeypatch.setitem(shapes.PRESETS, "street", TINY)
    monkeypatch.setattr("chappe.systems.rlasc.train.SENSITIVITY_FRAMES", 1)
    data, out = tmp_path / "data", tmp_path / "out"
    for seed, (image, labels) in enumerate(zip(FRAMES.images, FRAMES.labels, strict=True)):
        for kind in ("images", "labels"):
            (data / "train" / kind).mkdir(parents=True, exist_ok=True)
        write_image(data / "train" / "images" / f"0006R0_{seed}.png", image)
        write_labels(data / "train" / "labels" / f"0006R0_{seed}.png", labels, "street11")
    for split in ("train", "val"):
        (data / f"{split}.txt").write_text("0006R0_0\n0006R0_1\n")
    options = ["--data", str(data), "--out", str(out), "--steps", "1", "1", "1", "--size", "64", "96"]
    assert main(["train", "rlasc", *options, "--scenes", "0", "--no-lpips"]) == 0
    for stage, figure in (("autoencoder", "rate"), ("agent", "return"), ("finetune", "entropy")):
        assert figure in json.loads((out / stage / "log.jsonl").read_text().splitlines()[-1])
    codec = load_folder(out / "weights", "trained", 251, Segmenter())
    assert codec.prior.channels == 4 and codec.sensitivity("segmentation").shape == (12, 6)
    assert (codec.sensitivity("segmentation")[:, 0] > 0).all()
    blob = codec.encode(PICTURE, point=OperatingPoint("p", {"lambda": 0.1}))
    assert codec.decode(blob).image.shape == PICTURE.shape

    more = ["--stage", "agent", "--start", str(out / "weights"), "--task", "detection", "--eta", "0.5"]
    options[3] = str(tmp_path / "more")
    assert main(["train", "rlasc", *options, "--scenes", "0", "--no-lpips", *more]) == 0
    both = load_folder(tmp_path / "more" / "weights", "trained", 251, Segmenter())
    assert both.fingerprint == codec.fingerprint and tuple(both.engine.agents) == ("detection", "segmentation")
    assert both.encode(PICTURE, point=OperatingPoint("p", {"lambda": 0.1})) == blob  # the model's own task stays usual
    steered = both.encode(PICTURE, point=OperatingPoint("p", {"lambda": 0.1, "task": "detection"}))
    assert codec.decode(steered).image.shape == PICTURE.shape  # by who has no such agent
    assert main(["train", "rlasc", *options, "--start", str(out / "weights")]) == 2
    assert main(["train", "rlasc", *options, *more[:4], "--scenes", "0", "--no-lpips"]) == 2
    (tmp_path / "more" / "weights" / AGENT.format("detection")).write_bytes(b"none")
    with pytest.raises(InputError, match=r"agent-detection\.safetensors: the weights are damaged"):
        load_folder(tmp_path / "more" / "weights", "trained", 251)

    (out / "weights" / "config.json").write_text(
        (out / "weights" / "config.json").read_text().replace('"channels": 4', '"channels": 5')
    )
    with pytest.raises((InputError, RuntimeError)):
        load_folder(out / "weights", "trained", 251)
