"""ResNet-50 and -152: torchvision's keys, and what is frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.model.imagenet_resnets import BLOCKS, FROZEN, Bottleneck, Bottlenecks

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def norm(name: str) -> list[str]:
    return [f"{name}.{part}" for part in NORM]


def keys_of(blocks: tuple[int, ...]) -> list[str]:
    """torchvision's keys by rule: three convolutions per block, each with its norm; a projection in a stage's first block."""
    keys = ["conv1.weight", *norm("bn1")]
    for stage, number in enumerate(blocks, 1):
        for block in range(number):
            name = f"layer{stage}.{block}"
            for i in (1, 2, 3):
                keys += [f"{name}.conv{i}.weight", *norm(f"{name}.bn{i}")]
            if block == 0:
                keys += [f"{name}.downsample.0.weight", *norm(f"{name}.downsample.1")]
    return keys


def small(trains: str = "all", seed: int = 0) -> Bottlenecks:
    torch.manual_seed(seed)
    return Bottlenecks("resnet50", width=2, trains=trains)


@pytest.mark.parametrize(("name", "parameters"), [("resnet50", 23_508_032), ("resnet152", 58_143_808)])
def test_keys_and_sizes_are_torchvisions(name: str, parameters: int) -> None:
    """Its own figures, 25,557,032 and 60,192,808, less the classifier's 2048 x 1000 + 1000."""
    with torch.device("meta"):
        network = Bottlenecks(name)
    assert list(network.state_dict()) == keys_of(BLOCKS[name])
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert parameters + 2_049_000 in (25_557_032, 60_192_808)
    assert network.p == 2048
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.conv1.weight"] == (128, 256, 1, 1)
    assert shapes["layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)


def test_places_recipe_has_a_block_of_its_own_after_two() -> None:
    with torch.device("meta"):
        network = Bottlenecks("resnet152", trains="block")
    assert list(network.state_dict())[: -3 * 6] == keys_of((3, 8, 36, 2))
    trained = [key for key, value in network.named_parameters() if value.requires_grad]
    assert trained == [
        f"block.{part}" for i in (1, 2, 3) for part in (f"conv{i}.weight", f"bn{i}.weight", f"bn{i}.bias")
    ]
    new_block = 2048 * 512 + 512 * 512 * 9 + 512 * 2048 + 2 * (512 + 512 + 2048)
    assert sum(p.numel() for p in network.block.parameters()) == new_block
    assert sum(p.numel() for p in network.parameters()) == 58_143_808  # one block less and the same block more


def test_the_stride_is_that_of_the_middle_convolution() -> None:
    for stage, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        first: Any = getattr(small(), f"layer{stage}")[0]
        assert first.conv1.stride == (1, 1)
        assert first.conv2.stride == first.downsample[0].stride == (stride, stride)
    assert small()(torch.zeros(2, 3, 64, 96)).shape == (2, 64)


def test_a_block_computes_its_formula() -> None:
    torch.manual_seed(0)
    block, x = Bottleneck(8, 4, 2).eval(), torch.rand(2, 8, 6, 6)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    state = block.state_dict()

    def layer(x: Tensor, conv: str, bn: str, stride: int = 1, padding: int = 0) -> Tensor:
        y = nn.functional.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        mean, variance = (state[f"{bn}.running_{part}"].view(-1, 1, 1) for part in ("mean", "var"))
        return (y - mean) / (variance + 1e-5).sqrt()

    y = layer(x, "conv1", "bn1").clamp(min=0)
    y = layer(layer(y, "conv2", "bn2", 2, 1).clamp(min=0), "conv3", "bn3")
    expected = (y + layer(x, "downsample.0", "downsample.1", 2)).clamp(min=0)
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_weights_are_kaiming_normal_by_fan_out_but_the_new_blocks_are_pytorchs() -> None:
    torch.manual_seed(0)
    network = Bottlenecks("resnet50", width=16, trains="block")
    for key, value in network.state_dict().items():
        if value.ndim == 4 and value.numel() > 5000:
            fan_in, fan_out = value[0].numel(), value.shape[0] * value[0, 0].numel()
            std = (1 / (3 * fan_in)) ** 0.5 if key.startswith("block") else (2 / fan_out) ** 0.5
            assert value.std() == pytest.approx(std, rel=0.05)
            assert (value.abs().max() <= fan_in**-0.5) == key.startswith("block")


@pytest.mark.parametrize("trains", FROZEN)
def test_frozen_parts_and_their_statistics_do_not_change_in_a_step(trains: str) -> None:
    network = small(trains)
    head = nn.Linear(network.p, 3)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1)
    network.eval()
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for _ in range(2):
        optimizer.zero_grad()
        scores = head(network(torch.rand(4, 3, 64, 64)))
        nn.functional.cross_entropy(scores, torch.tensor([0, 1, 2, 0])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    stages = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert (
        changed
        == {"all": stages, "stage4": {"layer4"}, "block": {"block"}, "classifier": set(), "features": set()}[trains]
    )
    if trains not in ("classifier", "features"):
        trained = {"all": "bn1", "stage4": "layer4.2.bn3", "block": "block.bn3"}[trains]
        assert network.state_dict()[f"{trained}.num_batches_tracked"] == 2


def test_frozen_parts_build_no_graph() -> None:
    assert not small("classifier")(torch.rand(2, 3, 32, 32)).requires_grad
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    small("block")(images).sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is None


def test_frozen_parts_are_in_evaluation_mode_from_the_start() -> None:
    network = small("stage4")
    assert {name for name, part in network.named_children() if part.training} == {"layer4"}
    assert not any(part.training for part in network.eval().children())
