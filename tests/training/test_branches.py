"""Networks with two branches: parameter counts, what each branch is shown, losses against formulas, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from figures import optimum
from lpm.console.errors import InvalidInput
from tests.pages import code
from tests.training.own import ORDER, pets, trained
from training import experiments, predict
from training.batches.branch_ratios import mean_share
from training.batches.epoch import batch_sizes
from training.batches.mixing import ratios
from training.config import RunConfig, with_preset
from training.data import datasets
from training.model import build
from training.model.branches import Branched
from training.model.imagenet_resnets import Bottlenecks
from training.run import loop, trainer
from training.run.corrections import Finished
from training.run.measurement import measured
from training.sampling.label_law import label_frequencies
from training.second_stage import second_stage
from training.store import collapse
from training.store.runs import RunFolder, find

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=8, imbalance=10.0, precision="fp32")
DBN, BBN = replace(TINY, branches="dbn"), replace(TINY, branches="bbn", alpha=0.0)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("branches", "K", "total"),
    [("bbn", 10, 538_778), ("bbn", 100, 550_388), ("dbn", 10, 816_292), ("dbn", 100, 827_992)],
)
def test_parameter_counts_are_those_of_the_published_networks(branches: str, K: int, total: int) -> None:
    alpha = 0.0 if branches == "bbn" else 1.0
    config = RunConfig(dataset=f"cifar{K}-lt", width=16, branches=branches, alpha=alpha)
    assert sum(p.numel() for p in build.network(config, 3).parameters()) == total


@pytest.mark.parametrize(
    "config",
    [DBN, replace(DBN, classifier="ms"), replace(DBN, classifier="etf"), BBN, replace(BBN, classifier="ms")],
    ids=lambda config: config.method,
)
def test_scores_are_linear_in_the_joined_inputs(config: RunConfig) -> None:
    network = build.network(config, 1).eval()
    for name, parameter in network.classifier.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    x = torch.randn(5, 1, 8, 8)
    h = network.features(x, bf16=False)
    assert h.shape == (5, 64)
    of_branches = [network.features(x, branch, bf16=False) for branch in (0, 1)]
    assert torch.equal(h, torch.cat(of_branches, dim=1))
    W, bias = network.classifier.class_vectors, network.classifier.bias
    z = network.classifier.features(h) @ W.T + (0 if bias is None else bias)
    assert torch.allclose(network(x), z, atol=1e-5)
    if config.branches == "dbn":
        heads = network.classifier.first, network.classifier.second
        first, second = (head(h) for head, h in zip(heads, of_branches, strict=True))
        assert torch.allclose(network(x), (first + second) / 2, atol=1e-6)


@pytest.mark.parametrize(("blocks", "first"), [(1, "layer4.2."), (3, "layer4.0.")])
def test_the_last_blocks_of_a_large_network_exist_twice(blocks: int, first: str) -> None:
    plain = Bottlenecks("resnet50", width=4).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = plain(x)
    branched = Branched(plain, blocks).eval()
    assert torch.allclose(branched(x), torch.cat([expected, expected], dim=1))  # a copy, as for pretrained weights
    keys = list(plain.state_dict())
    doubled = keys[keys.index(f"{first}conv1.weight") :]
    assert len(branched.state_dict()) == len(keys) + len(doubled)
    drawn = Branched(Bottlenecks("resnet50", width=4), blocks, draw=True)
    a, b = (torch.cat([p.ravel() for p in end.parameters() if p.ndim == 4]) for end in drawn.ends)
    assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 0.1
    assert a.std().item() == pytest.approx(b.std().item(), rel=0.1)


def batch_of(n: int = 24) -> list[torch.Tensor]:
    """Both sides of n pairs of images, their labels a != b, ratios, weights and no boxes."""
    rng = torch.Generator().manual_seed(1)
    first, second = (torch.randn(n, 1, 8, 8, generator=rng) for _ in range(2))
    a = torch.randint(0, 10, (n,), generator=rng)
    b = (a + 1 + torch.randint(0, 9, (n,), generator=rng)) % 10
    lam = torch.rand(n, generator=rng)
    return [first, second, a, b, lam, lam.clone(), torch.zeros(4, 0, dtype=torch.int64)]


def soft_cross_entropy(z: torch.Tensor, a: torch.Tensor, b: torch.Tensor, lam: torch.Tensor) -> float:
    """The mean cross-entropy of logits in float64 with the label lam e_a + (1 - lam) e_b."""
    target = np.zeros(z.shape)
    for i, (k, m, share) in enumerate(zip(a.tolist(), b.tolist(), lam.double().tolist(), strict=True)):
        target[i, k] += share
        target[i, m] += 1 - share
    x = z.detach().double().numpy()
    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return float(-(target * log_p).sum(axis=1).mean())


@pytest.mark.parametrize("training", [False, True])
def test_dbn_is_the_mean_of_two_losses_on_exchanged_mixtures(training: bool, digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(DBN, digits, CPU)
    first, second, a, b, lam, _, _ = batch = batch_of()
    network = learner.network.train(training)
    loss = learner.assembly.objective(*batch)
    w = lam.view(-1, 1, 1, 1)
    one = network.features(w * first + (1 - w) * second, 0, bf16=False)
    other = network.features((1 - w) * first + w * second, 1, bf16=False)
    expected = soft_cross_entropy(network.classifier.first(one), a, b, lam)
    expected += soft_cross_entropy(network.classifier.second(other), a, b, 1 - lam)
    assert loss.item() == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize("choices", [{}, {"loss": "complement"}, {"classifier": "ms"}])
def test_gradients_of_both_heads_are_those_of_finite_differences(choices: dict[str, Any]) -> None:
    heads = build.network(replace(DBN, **choices), 1, counts=np.arange(40, 0, -4)).classifier.double()
    _, _, a, b, lam, _, _ = batch_of(6)
    h = torch.randn(6, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: heads.loss(h, a, b, lam.double()), (h,))


@pytest.mark.parametrize("classifier", ["fc", "ms", "ms-unordered", "etf"])
def test_dbn_is_symmetric_under_exchanging_branches_and_shares(classifier: str, digits: datasets.LongTailed) -> None:
    sampler = "bmls" if classifier == "ms-unordered" else "random"
    learner = trainer.Trainer(replace(DBN, classifier=classifier, sampler=sampler), digits, CPU)
    objective, network = learner.assembly.objective, learner.network
    batch = batch_of()
    loss = objective(*batch)
    network.backbone.ends = torch.nn.ModuleList(reversed(network.backbone.ends))
    heads = network.classifier
    heads.first, heads.second = heads.second, heads.first
    exchanged = objective(*batch[:4], *(1 - share for share in batch[4:6]), batch[6])
    assert exchanged.item() == pytest.approx(loss.item(), rel=1e-6)
    unlike = objective(*batch)  # the branches differ, so that the sides that they are shown count
    assert abs(unlike.item() - loss.item()) > 1e-4


def test_bbn_joins_features_of_both_images_with_the_shares_of_the_epoch(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(BBN, digits, CPU)
    first, second, a, b, _, _, boxes = batch_of()
    network = learner.network.eval()
    size, n = 0.7, len(a)
    share = torch.full((n,), size)
    loss = learner.assembly.objective(first, second, a, b, share, share, boxes)
    W, bias = network.classifier.linear.weight, network.classifier.linear.bias
    one, other = network.features(first, 0, bf16=False), network.features(second, 1, bf16=False)
    z = 2 * size * one @ W[:, :32].T + 2 * (1 - size) * other @ W[:, 32:].T + bias
    assert loss.item() == pytest.approx(soft_cross_entropy(z, a, b, share), rel=1e-5)


def test_in_bbns_first_epoch_only_the_first_branch_has_a_gradient(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(replace(BBN, weight_decay=0.0), digits, CPU)
    network = learner.network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    learner.train_epoch()
    half = network.backbone.p // 2
    for name, parameter in network.named_parameters():
        moved = parameter != before[name]
        if name.startswith("backbone.ends.1."):
            assert not moved.any(), name
        elif name == "classifier.linear.weight":
            assert moved[:, :half].any()
            assert not moved[:, half:].any()
        else:
            assert moved.any(), name
    learner.train_epoch()
    assert all((p != before[name]).any() for name, p in network.named_parameters())


def test_shares_of_both_branches() -> None:
    sizes = [64, 64, 20]
    plain = ratios(replace(DBN, branches="none", batch=64), 2, sizes)
    folded = ratios(replace(DBN, batch=64), 2, sizes)
    assert torch.equal(folded.of_pairs, torch.where(plain.of_pairs < 0.5, 1 - plain.of_pairs, plain.of_pairs))
    assert np.array_equal(folded.drawn, np.where(plain.drawn < 0.5, 1 - plain.drawn, plain.drawn))
    assert folded.of_pairs.min() >= 0.5
    assert not torch.equal(folded.of_pairs, plain.of_pairs)
    config = replace(BBN, epochs=200, warmup=5)
    shares = [ratios(config, epoch, sizes).of_pairs for epoch in (1, 101, 200)]
    for share, expected in zip(shares, (1.0, 0.75, 1 - (199 / 200) ** 2), strict=True):
        assert share.shape == (148,)
        assert torch.allclose(share, torch.full((148,), expected))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mean_shares_are_those_that_are_drawn(alpha: float) -> None:
    config = replace(DBN, alpha=alpha, ratio_per="sample")
    drawn = ratios(config, 1, [400_000]).of_pairs.double()
    assert mean_share(config, 0) == pytest.approx(drawn.mean().item(), abs=4 * drawn.std().item() / 400_000**0.5)
    assert mean_share(config, 0) + mean_share(config, 1) == 1
    for epochs in (1, 7):
        run = replace(BBN, epochs=epochs, warmup=0)
        shares = [ratios(run, epoch, [20]).of_pairs[0].item() for epoch in range(1, epochs + 1)]
        assert mean_share(run, 0) == mean_share(run, 1) == pytest.approx(np.mean(shares), rel=1e-6)
    assert mean_share(replace(DBN, alpha=0.0), 0) == 1


@pytest.mark.parametrize("config", [DBN, BBN], ids=["DBN", "BBN"])
@pytest.mark.parametrize("sampler", ["random", "cbs", "bmls"])
def test_the_prior_of_each_branch_is_the_law_of_its_labels(
    config: RunConfig, sampler: str, digits: datasets.LongTailed
) -> None:
    config = replace(config, sampler=sampler, ratio_per="sample" if config.alpha else "batch", epochs=60)
    pairs, labels, K = build.sampler(config, digits.train.labels), digits.train.labels, digits.K
    for branch in (0, 1):
        counted = np.zeros(K)
        for epoch in range(1, config.epochs + 1):
            drawn = pairs.pairs(epoch - 1)
            share = ratios(config, epoch, batch_sizes(len(drawn), config)).of_pairs.double().numpy()
            share = 1 - share if branch and config.branches == "dbn" else share
            counted += np.bincount(labels[drawn[:, 0]], share, K) + np.bincount(labels[drawn[:, 1]], 1 - share, K)
        frequencies = label_frequencies(config, digits.counts, branch)
        assert frequencies.sum() == pytest.approx(1)
        assert np.allclose(counted / counted.sum(), frequencies, atol=4 * (0.1 / (486 * 60)) ** 0.5)


PUBLISHED = [replace(TINY, **experiments.METHODS[name]) for name in ("DBN", "BBN")]
METHODS = [
    *PUBLISHED,
    DBN,
    replace(DBN, sampler="bmls", classifier="ms-unordered", ratio_per="sample"),
    replace(DBN, classifier="etf", loss="dr", norm_batch=8, batch=32),
    BBN,
    replace(BBN, sampler="bmls", classifier="ms-unordered"),
]


def test_a_published_method_has_its_name_alone_and_any_other_names_its_parts() -> None:
    assert [config.method for config in PUBLISHED] == ["DBN", "BBN"]
    assert replace(PUBLISHED[0], temperature_eta=7.0).method == "bilateral+FC+CL(temperature-eta=7)+DBN"
    assert replace(PUBLISHED[1], second_power=0.0).method == "bilateral+FC+BBN"
    assert replace(PUBLISHED[0], alpha=0.0).method == "DBN, no mixup"


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method)
def test_a_finished_run_is_evaluated_and_measured_like_any_other(
    config: RunConfig, digits: datasets.LongTailed, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path, config)
    result = loop.run(config, digits, folder, CPU)
    assert result.method == config.method
    assert config.method.split("+")[-1] == config.branches.upper()
    final, geometry = folder.final(), folder.geometry(3)
    scores = final["test_features"].astype(float) @ geometry["class_vectors"].T.astype(float)
    scores += geometry.get("class_bias", 0)
    assert (scores.argmax(axis=1) == final["test_answers"][:, 0]).mean() > 0.98  # features are stored in half precision
    assert geometry["class_means"].shape == geometry["class_vectors"].shape == (10, 64)
    assert collapse.collapse_numbers(config, digits.counts) is None
    with pytest.raises(InvalidInput, match=f"the layer-peeled model has no program for branches '{config.branches}'"):
        optimum.network(folder, 3)
    learner = trainer.Trainer(config, digits, CPU)
    learner.load(3, (folder.path / "final.safetensors").read_bytes())
    again = measured(learner)
    assert all(np.allclose(again[name].numpy(), geometry[name], atol=1e-5) for name in geometry)
    finished = Finished(config, learner.network.eval(), digits, CPU)
    scores = finished.inputs("test") @ finished.class_vectors.T + finished.bias  # what tau-norm changes
    assert np.allclose(scores, finished.logits("test"), atol=1e-4)


@pytest.mark.parametrize(
    "words", [("--branches", "dbn"), ("--branches", "bbn", "--alpha", "0", "--ratio-per", "batch")]
)
def test_image_files_train_both_branches_and_are_predicted_as_the_result_says(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = pets(tmp_path / "data")
    assert trained(root, tmp_path / "store", "--name", "pets", "--model", "resnet50", *words) == 0
    (folder,) = find(tmp_path / "store")
    capsys.readouterr()
    assert predict.main([str(folder.path), str(root / "test"), "--workers", "0"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    right = {name: [row["class"] == name for row in rows if f"/{name}/" in row["image"]] for name in ORDER}
    assert [100 * np.mean(right[name]) for name in ORDER] == pytest.approx(folder.result().per_class)


def test_pretrained_weights_start_both_branches(tmp_path: Path) -> None:
    plain = Bottlenecks("resnet50", width=4)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    config = RunConfig(dataset="places-lt", model="resnet50", width=4, pretrained=True, branches="dbn")
    backbone = build.network(config, 3, tmp_path / "weights.pth").backbone
    for end in backbone.ends:
        assert all(torch.equal(a, b) for a, b in zip(end.parameters(), plain.layer4.parameters(), strict=True))


@pytest.mark.parametrize("page", ["bbn", "dbn-mix"])
def test_the_parts_drop_into_a_loop_of_ones_own(page: str) -> None:
    (example,) = code(f"docs/practice/methods/{page}.md")
    names: dict[str, Any] = {}
    exec(compile(example, page, "exec"), names)
    names["value"].backward()
    assert names["scores"].shape == (16, 10)
    assert all(p.grad is not None for p in names["backbone"].parameters())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"branches": "bbn"},
            "branches 'bbn' shows each branch whole images, and mixes none: give --alpha 0, or take 'dbn'",
        ),
        ({"branches": "bbn", "alpha": 0.0, "classifier": "etf"}, "undo that: take --features as-is"),
        ({"branches": "bbn", "alpha": 0.0, "features": "unit"}, "undo that: take --features as-is"),
        ({"branches": "dbn", "mixing": "remix"}, "which mixing 'remix' does not have: take --mixing mixup"),
        ({"branches": "dbn", "ratio_per": "batch-swapped"}, "swapped shares have no effect"),
        ({"branches": "dbn", "alpha": 0.0, "sampler": "bmls"}, "so each branch lacks a class"),
        ({"branches": "dbn", "alpha": 0.0, "classifier": "ms"}, "an image without mixup has one label, no label pair"),
        ({"branches": "dbn", "feature_decay": 0.1}, "drop --feature-decay and --classifier-decay"),
        ({"branches": "dbn", "classifier_decay": 0.1}, "drop --feature-decay and --classifier-decay"),
        ({"branches": "dbn", "clean_statistics": True}, "drop --clean-statistics"),
        ({"branches": "three"}, "branches 'three' is unknown; choose one of none, dbn, bbn"),
    ],
)
def test_what_is_not_defined_for_branches_is_refused_in_one_line(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        replace(TINY, **choices)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_second_stage_is_for_one_network() -> None:
    with pytest.raises(InvalidInput, match="a second stage is defined on the features of one network"):
        second_stage(DBN, "crt")
    with pytest.raises(
        InvalidInput, match="branches 'dbn' trains both branches, and a second stage freezes one network"
    ):
        replace(second_stage(TINY, "crt"), branches="dbn", alpha=1.0)


def test_a_pretrained_network_with_branches_trains_all_layers() -> None:
    large: dict[str, Any] = {"dataset": "places-lt", "model": "resnet50", "pretrained": True, "branches": "dbn"}
    RunConfig(**large)
    with pytest.raises(InvalidInput, match="branches 'dbn' trains all layers: drop --trains"):
        RunConfig(**large, trains="stage4")
