"""Networks with two branches: parameter counts, features and scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.config import RunConfig, with_preset
from training.model import build
from training.model.branches import Branched
from training.model.imagenet_resnets import Bottlenecks

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=8, imbalance=10.0, precision="fp32")


@pytest.mark.parametrize(
    ("branches", "K", "total"),
    [("bbn", 10, 538_778), ("bbn", 100, 550_388), ("dbn", 10, 816_292), ("dbn", 100, 827_992)],
)
def test_parameter_counts_are_those_of_the_published_networks(branches: str, K: int, total: int) -> None:
    config = RunConfig(dataset=f"cifar{K}-lt", width=16, branches=branches)
    assert sum(p.numel() for p in build.network(config, 3).parameters()) == total


@pytest.mark.parametrize(
    ("branches", "classifier"), [("dbn", "fc"), ("dbn", "ms"), ("dbn", "etf"), ("bbn", "fc"), ("bbn", "ms")]
)
def test_scores_are_linear_in_the_joined_inputs(branches: str, classifier: str) -> None:
    network = build.network(replace(TINY, classifier=classifier, branches=branches), 1).eval()
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
    if branches == "dbn":
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
