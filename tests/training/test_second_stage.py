"""Second stages: what is frozen stays bit for bit, losses are those of their formulas, and a run names its first one."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import pets, trained
from tests.training.test_capture import Recorded
from training import confusion, measure, predict, stage2
from training.config import RunConfig, from_json, with_preset
from training.data.datasets import LongTailed
from training.experiments import runs_of
from training.model import build
from training.model.losses import mixed_cross_entropy
from training.model.second_stage import LabelAwareSmoothing
from training.named import METHODS
from training.run import loop, steps
from training.run.capture import captured
from training.run.inference import network_of
from training.run.starting import Start, start_of
from training.run.trainer import Trainer
from training.second_stage import second_stage
from training.store.runs import RunFolder, at, find

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0, precision="fp32")
CPU = torch.device("cpu")
STAGES = ("crt", "lws", "mislas")

Store = tuple[Path, RunFolder]


@pytest.fixture(scope="module")
def first(digits: LongTailed, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = tmp_path_factory.mktemp("store")
    folder = RunFolder(store, TINY)
    loop.run(TINY, digits, folder, CPU)
    return store, folder


def begun(first: Store, digits: LongTailed, config: RunConfig) -> tuple[Trainer, Start]:
    start = start_of(first[0], config, digits)
    return Trainer(config, digits, CPU, start=start.network), start


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_label_aware_smoothing_is_that_of_its_formula_and_0_is_cross_entropy(seed: int, K: int) -> None:
    rng = np.random.default_rng(seed)
    n = np.sort(rng.integers(1, 500, size=K))[::-1].copy()
    z, a, b, lam = rng.normal(size=(5, K)) * 3, rng.integers(K, size=5), rng.integers(K, size=5), rng.random(5)
    head, tail = 0.4, 0.1
    expected = 0.0
    for i in range(5):
        log_p = [z[i, k] - math.log(sum(math.exp(x) for x in z[i])) for k in range(K)]
        for label, weight in ((a[i], lam[i]), (b[i], 1 - lam[i])):
            share = (n[label] - n[-1]) / (n[0] - n[-1]) if n[0] > n[-1] else 0.0
            e = tail + (head - tail) * math.sin(math.pi / 2 * share)
            expected += weight * (-(1 - e) * log_p[label] - e * sum(log_p) / K) / 5
    arguments = torch.from_numpy(z), *(torch.from_numpy(x) for x in (a, b)), torch.from_numpy(lam)
    counts = torch.from_numpy(n)
    assert float(LabelAwareSmoothing(counts, head, tail)(*arguments)) == pytest.approx(expected, rel=1e-6)
    plain = LabelAwareSmoothing(counts, 0.0, 0.0)(*arguments)
    assert float(plain) == pytest.approx(float(mixed_cross_entropy(*arguments)), rel=1e-12)


def test_smoothing_has_mislas_values_at_imbalance_100() -> None:
    counts = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    values = [0.300, 0.241, 0.158, 0.096, 0.056, 0.032, 0.017, 0.009, 0.003, 0.0]
    assert LabelAwareSmoothing(counts, 0.3, 0.0).smoothing.tolist() == pytest.approx(values, abs=6e-4)


def test_its_gradient_is_that_of_finite_differences() -> None:
    loss = LabelAwareSmoothing(torch.tensor([9, 4, 1]), 0.4, 0.1)
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 0, 0])
    assert torch.autograd.gradcheck(lambda x: loss(x, *labels, torch.tensor(0.3, dtype=torch.float64)), z)


@pytest.mark.parametrize("stage", ["lws", "mislas"])
def test_with_scales_1_it_predicts_as_the_first_stage(first: Store, digits: LongTailed, stage: str) -> None:
    trainer, _ = begun(first, digits, second_stage(TINY, stage))
    assert np.array_equal(trainer.evaluate(), first[1].final()["test_answers"])


def test_a_new_classifier_is_not_the_first_stages(first: Store, digits: LongTailed) -> None:
    trainer, start = begun(first, digits, second_stage(TINY, "crt"))
    assert not torch.equal(trainer.network.classifier.class_vectors, start.network.classifier.class_vectors)


@pytest.mark.parametrize("norms", ["eval", "shift"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_frozen_stays_bit_for_bit(first: Store, digits: LongTailed, stage: str, norms: str) -> None:
    trainer, start = begun(first, digits, second_stage(TINY, stage, stage_norms=norms, epochs=2))
    for _ in range(2):
        trainer.train_epoch()
        trainer.evaluate()
    before, after = start.network.state_dict(), trainer.network.state_dict()
    changed = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    statistics = {name for name in changed if "running" in name or "tracked" in name}
    assert bool(statistics) == (norms == "shift")
    assert changed - statistics == ({"classifier.linear.weight", "classifier.linear.bias"} if stage != "lws" else set())
    scales = after.get("classifier.scales", torch.zeros(10))
    assert bool((scales != 1).all()) == (stage != "crt") or stage == "crt"
    if stage != "crt":
        assert not torch.equal(scales, torch.ones(10))


def test_eval_mode_computes_the_features_of_evaluation_and_shift_those_of_training(
    first: Store, digits: LongTailed
) -> None:
    x = next(iter(begun(first, digits, second_stage(TINY, "crt"))[0].source.test(torch.arange(32))))
    features = {}
    for norms in ("eval", "shift"):
        trainer, start = begun(first, digits, second_stage(TINY, "crt", stage_norms=norms))
        trainer.network.train()
        features[norms] = trainer.network.features(x, bf16=False)
    reference = start.network
    assert torch.allclose(features["eval"], reference.eval().features(x, bf16=False), atol=1e-5)
    assert torch.allclose(features["shift"], reference.train().features(x, bf16=False), atol=1e-5)
    assert not features["eval"].requires_grad


def test_class_vectors_of_mislas_have_their_share_of_the_learning_rate(first: Store, digits: LongTailed) -> None:
    config = second_stage(TINY, "mislas", vectors_lr=0.25, weight_decay=0.0, epochs=1)
    trainer, _ = begun(first, digits, config)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.assembly.lr.fill_(0.1)
    trainer.assembly.vectors_lr.fill_(0.025)
    trainer.steps.step(config.batch, config.batch)  # momentum starts at zero
    for name, rate in (("classifier.scales", 0.1), ("classifier.linear.weight", 0.025)):
        parameter = trainer.network.get_parameter(name)
        assert isinstance(parameter.grad, Tensor)
        assert torch.allclose(parameter, before[name] - rate * parameter.grad)
    trainer.steps.launch()
    assert float(trainer.assembly.vectors_lr) == pytest.approx(0.25 * config.lr_at(1))


def test_class_vectors_that_are_measured_are_the_scaled_ones(first: Store, digits: LongTailed) -> None:
    trainer, _ = begun(first, digits, second_stage(TINY, "lws", epochs=1))
    trainer.train_epoch()
    trainer.network.eval()
    classifier = trainer.network.classifier
    h = torch.randn(5, trainer.network.backbone.p)
    bias = classifier.bias
    assert isinstance(bias, Tensor)
    assert torch.allclose(classifier(h), h @ classifier.class_vectors.T + bias, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_it_has_the_published_recipe(stage: str) -> None:
    c10 = RunConfig(dataset="cifar10-lt", imbalance=100.0)
    run = second_stage(c10, stage)
    assert (run.alpha, run.batch, run.stage_norms, run.seed) == (0.0, 128, "eval", c10.seed)
    assert run.preset == "paper"
    if stage == "mislas":
        assert [run.lr_at(e) for e in (1, 6)] == pytest.approx([0.1, 0.05])
        assert (run.epochs, run.sampler, run.weight_decay) == (10, "cas", 2e-4)
        assert (run.smooth_head, run.smooth_tail, run.vectors_lr) == (0.3, 0.0, 0.5)
        c100 = second_stage(RunConfig(dataset="cifar100-lt", imbalance=50.0), stage)
        assert (c100.smooth_head, c100.smooth_tail, c100.vectors_lr, c100.stage_norms) == (0.3, 0.0, 0.1, "shift")
        c200 = second_stage(RunConfig(dataset="cifar100-lt", imbalance=200.0), stage)
        assert (c200.smooth_head, c200.smooth_tail, c200.vectors_lr) == (0.4, 0.1, 0.2)
    else:
        assert [run.lr_at(e) for e in (1, 5, 10, 11, 20, 21, 30)] == pytest.approx(
            [0.02, *[0.1] * 2, *[0.01] * 2, *[0.001] * 2]
        )
        assert (run.epochs, run.sampler, run.weight_decay) == (30, "cbs", 5e-4)
    changed = second_stage(c10, stage, epochs=3)
    assert (changed.preset, changed.epochs, changed.warmup) == ("paper+", 3, 0)
    assert second_stage(c10, stage, sampler=run.sampler, lr=run.lr, alpha=0.0) == run
    assert from_json(json.loads(json.dumps(vars(run)))) == run


def test_its_name_tells_the_first_stage_and_what_is_unusual() -> None:
    names = {second_stage(TINY, stage).method for stage in STAGES}
    assert names == {"random+FC+cRT", "random+FC+LWS", "random+FC+MiSLAS"}
    unmixed = replace(TINY, alpha=0.0)
    assert second_stage(unmixed, "crt").method == "random+FC+cRT, no mixup"
    assert second_stage(TINY, "crt", sampler="cas", alpha=1.0).method == "random+FC+cRT(CAS, mixup)"
    assert second_stage(TINY, "crt", stage_norms="shift").method == "random+FC+cRT(shift)"
    keys = {second_stage(replace(TINY, seed=seed), "crt").key for seed in range(3)}
    assert len(keys) == 1  # one setting, whatever the seed
    assert second_stage(unmixed, "crt").key not in keys


@pytest.mark.parametrize("method", METHODS)
def test_it_is_defined_for_every_method_or_refused_with_the_reason(method: str) -> None:
    whole = runs_of(replace(TINY, epochs=40, width=8), method)[0]
    for stage in STAGES:
        if whole.branches != "none" or (stage != "crt" and whole.classifier == "cosine"):
            with pytest.raises(InvalidInput, match=r"features of one network|linear in the features"):
                second_stage(whole, stage)
        else:
            run = second_stage(whole, stage)
            assert run.prepares == whole.prepares
            assert run.stage1 == whole.key


@pytest.mark.parametrize(
    ("choices", "stage", "reason"),
    [
        (
            {"branches": "dbn", "sampler": "bilateral"},
            "crt",
            "a second stage is defined on the features of one network",
        ),
        ({"classifier": "cosine"}, "lws", "crt is defined for it"),
    ],
)
def test_what_is_not_defined_is_refused(choices: dict[str, Any], stage: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        second_stage(replace(TINY, **choices), stage)


def test_a_second_stage_has_no_second_stage_and_needs_a_first_one() -> None:
    with pytest.raises(InvalidInput, match="name the run that it starts from"):
        second_stage(second_stage(TINY, "crt"), "lws")
    wrongs: tuple[dict[str, Any], ...] = (
        {"stage": "crt"},
        {"stage1": "0" * 12},
        {"stage": "crt", "stage1": "../../../etc"},
    )
    for wrong in wrongs:
        with pytest.raises(InvalidInput, match="must be"):
            replace(TINY, **wrong)
    with pytest.raises(InvalidInput, match="applies only to second stages"):
        replace(TINY, stage_norms="shift")


@pytest.mark.parametrize(
    "choices",
    [{"classifier": "ms", "width": 8}, {"classifier": "etf", "width": 8}, {"classifier": "ms-wetf", "width": 8}],
)
def test_scales_on_other_classifiers_begin_with_their_predictions(
    choices: dict[str, Any], digits: LongTailed, tmp_path: Path
) -> None:
    config = replace(TINY, epochs=1, warmup=1, **choices)
    folder = RunFolder(tmp_path, config)
    loop.run(config, digits, folder, CPU)
    trainer, _ = begun((tmp_path, folder), digits, second_stage(config, "lws"))
    agree = trainer.evaluate()[:, 0] == folder.final()["test_answers"][:, 0]
    assert agree.mean() > 0.995  # the product of scale and vector rounds otherwise


def test_it_reports_its_own_best_and_names_its_first_stage(first: Store, digits: LongTailed) -> None:
    config = second_stage(TINY, "lws", epochs=1)
    start = start_of(first[0], config, digits)
    folder = RunFolder(first[0], config)
    result = loop.run(config, digits, folder, CPU, start=start)
    assert folder.result() == result
    assert result.stage1 == TINY.folder
    assert result.stage1_last == first[1].result().last
    assert result.best == max(row["test_all"] for row in folder.rows())
    assert json.loads((folder.path / "data.json").read_text())["stage1"] == start.sha256
    network = network_of(folder, 1, CPU)
    assert isinstance(network, build.Network)
    with pytest.raises(InvalidInput, match="holds a run on other data or weights"):
        loop.run(config, digits, folder, CPU, start=replace(start, sha256="0" * 64))


def test_it_never_trains_on_features_of_no_run(digits: LongTailed, first: Store, tmp_path: Path) -> None:
    config = second_stage(TINY, "crt")
    with pytest.raises(InvalidInput, match="needs the run that it starts from"):
        loop.run(config, digits, RunFolder(tmp_path, config), CPU)
    with pytest.raises(InvalidInput, match="and only then"):
        loop.run(TINY, digits, RunFolder(tmp_path, TINY), CPU, start=start_of(first[0], config, digits))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", STAGES)
def test_captured_steps_train_bit_for_bit_like_plain_ones(
    first: Store, digits: LongTailed, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = second_stage(TINY, stage, epochs=2, stage_norms="shift")
    (plain, _), (graphs, _) = (begun(first, digits, config) for _ in range(2))
    graphs.steps.capture = True
    monkeypatch.setattr(steps, "captured", lambda step, state, rewind: captured(step, state, rewind, Recorded))
    rows = [(plain.train_epoch(), graphs.train_epoch()) for _ in range(2)]
    assert [one["loss"] for one, _ in rows] == [other["loss"] for _, other in rows]
    for tensor, theirs in zip(plain.network.state_dict().values(), graphs.network.state_dict().values(), strict=True):
        assert torch.equal(tensor, theirs)


def test_a_first_stage_that_is_missing_or_on_other_data_is_refused(
    first: Store, digits: LongTailed, tmp_path: Path
) -> None:
    config = second_stage(TINY, "crt")
    with pytest.raises(InvalidInput, match="train it there first"):
        start_of(tmp_path, config, digits)
    with pytest.raises(InvalidInput, match="train it there first"):
        start_of(first[0], replace(config, seed=7), digits)
    other = replace(digits, train=digits.test)
    with pytest.raises(InvalidInput, match="holds a run on other data"):
        start_of(first[0], config, other)


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_it_ends_bit_for_bit_the_same(first: Store, digits: LongTailed, stage: str, tmp_path: Path) -> None:
    config = second_stage(TINY, stage, epochs=3, stage_norms="shift")
    start, stop = start_of(first[0], config, digits), RuntimeError("stop")

    def after_two(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise stop

    whole, broken = RunFolder(tmp_path / "whole", config), RunFolder(tmp_path / "broken", config)
    loop.run(config, digits, whole, CPU, start=start)
    with pytest.raises(RuntimeError, match="stop"):
        loop.run(config, digits, broken, CPU, start=start, on_epoch=after_two)
    loop.run(config, digits, broken, CPU, start=start)
    expected, found = whole.final(), broken.final()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_the_command_trains_seeds_together_and_other_commands_read_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, store = pets(tmp_path / "pets"), tmp_path / "runs"
    assert trained(root, store, "--seeds", "0-1") == 0
    (setting,) = {folder.path.parent for folder in find(store)}
    data = ["--data-root", str(root), "--workers", "0", "--device", "cpu"]
    words = [str(setting), "--method", "mislas", "--epochs", "1", *data, "--quiet", "--json"]
    assert run_command(lambda: stage2.main(words)) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["method"] for result in results] == ["random+FC+MiSLAS"] * 2
    stages = [folder for folder in find(store) if folder.config.stage == "mislas"]
    assert [folder.config.seed for folder in stages] == [0, 1]
    assert run_command(lambda: measure.main([str(stages[0].path), *data])) == 0
    assert run_command(lambda: confusion.main([str(stages[0].path.parent)])) == 0
    image = next((root / "test").rglob("*.jpg"))
    assert run_command(lambda: predict.main([str(stages[0].path), str(image), "--device", "cpu"])) == 0
    assert "image,rank,class,score" in capsys.readouterr().out
    assert run_command(lambda: stage2.main([str(stages[0].path), "--method", "crt", *data])) == 2
    assert "name the run that it starts from" in capsys.readouterr().err
    assert {at(stage.path).result().stage1 for stage in stages} == {f"{setting.name}/seed-{seed}" for seed in (0, 1)}


def test_second_stages_among_several_runs_are_left_out(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    staged = second_stage(TINY, "crt")
    first, second = (SimpleNamespace(path=Path(f"s/{c.key}/seed-0"), config=c) for c in (TINY, staged))
    monkeypatch.setattr(stage2.runs, "named", lambda _: [first, second])
    settings, store = stage2._settings(Namespace(runs=[], method="lws"), {})
    assert (settings, store) == ([[second_stage(TINY, "lws")]], Path("s"))
    assert f"note: s/{staged.key}/seed-0 is a second stage itself" in capsys.readouterr().err
    monkeypatch.setattr(stage2.runs, "named", lambda _: [second])
    with pytest.raises(InvalidInput, match="is a second stage itself"):
        stage2._settings(Namespace(runs=[], method="lws"), {})
