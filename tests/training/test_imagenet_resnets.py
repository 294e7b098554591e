"""ResNet-50 and -152: torchvision's keys, what is frozen, and weights from files that may mean harm."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model import imagenet_resnets as resnets
from training.model.imagenet_resnets import BLOCKS, FROZEN, Bottleneck, Bottlenecks, load_weights

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
    assert changed == {"all": stages, "stage4": {"layer4"}, "block": {"block"}, "classifier": set()}[trains]
    if trains != "classifier":
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


def saved(network: Bottlenecks, path: Path, **more: Tensor) -> Path:
    """A file of weights; num_batches_tracked counts nothing in torchvision's old files, and is not there."""
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")} | more
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_weights_go_round(name: str, tmp_path: Path) -> None:
    given, network = small(seed=1), small(seed=2)
    path = saved(given, tmp_path / name, **{"fc.weight": torch.zeros(5, 64), "fc.bias": torch.zeros(5)})
    assert load_weights(network, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(given.eval()(images), network.eval()(images))


def test_other_wrappings_of_the_same_weights(tmp_path: Path) -> None:
    given = small(seed=1)
    wrapped = {
        f"module.{key}": nn.Parameter(value, value.is_floating_point())
        for key, value in given.state_dict().items()
        if value.ndim
    }
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "a.pt")
    torch.save(given.state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for name in ("a.pt", "b.pt"):
        network = small(seed=2)
        load_weights(network, tmp_path / name)
        assert torch.equal(network.layer3[1].conv2.weight, given.layer3[1].conv2.weight)
        assert isinstance(network.layer3, nn.Sequential)


def test_the_new_block_keeps_its_own_weights(tmp_path: Path) -> None:
    given, network = small(seed=1), small("block", seed=2)
    fresh = network.block.conv2.weight.clone()
    load_weights(network, saved(given, tmp_path / "w.pth"))
    assert torch.equal(network.layer4[1].conv3.weight, given.layer4[1].conv3.weight)
    assert torch.equal(network.block.conv2.weight, fresh)
    assert not network.layer4[1].conv3.weight.requires_grad


class Harm:
    """Runs a command when unpickled by an unpickler that allows it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["zip", "old", "bare"])
def test_a_hostile_pickle_is_refused_and_not_executed(form: str, tmp_path: Path) -> None:
    mark, path, network = tmp_path / "harmed", tmp_path / "w.pth", small()
    content = {**network.state_dict(), "conv1.weight": Harm(mark)}
    if form == "bare":
        path.write_bytes(pickle.dumps({"conv1.weight": Harm(mark)}, 2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(
        InvalidInput, match=r"w\.pth' must be tensors only: the file asks to run posix\.system"
    ) as error:
        load_weights(network, path)
    assert str(error.value).isprintable()
    assert not mark.exists()


def with_(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer4.2.bn3.bias"), r"lack layer4\.2\.bn3\.bias \(1 such\); take weights of this network"),
        (with_("layer5.0.conv1.weight", torch.zeros(1)), r"have the unknown layer5\.0\.conv1\.weight \(1 such\)"),
        (with_("od\x1b[2Jd\n", torch.zeros(1)), r"have the unknown od\\x1b\[2Jd  \(1 such\)"),
        (with_("conv1.weight", torch.zeros(2, 3, 3, 3)), r"conv1\.weight has shape \(2, 3, 3, 3\), not \(2, 3, 7, 7\)"),
        (with_("conv1.weight", torch.full((2, 3, 7, 7), torch.nan)), r"conv1\.weight has values that are not finite"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7, dtype=torch.int64)), r"conv1\.weight has values that are not"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7).to_sparse()), r"conv1\.weight is not a plain tensor"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7, device="meta")), r"conv1\.weight is not a plain tensor"),
        (with_("conv1.weight", [1, 2]), r"conv1\.weight is not a plain tensor"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7, dtype=torch.complex64)), r"conv1\.weight is not a plain tensor"),
        (with_("bn1.running_var", torch.tensor([1.0, -1e-3])), r"bn1\.running_var has negative variances"),
        (with_("conv1.weight", torch.zeros(()).expand(2, 3, 10**9, 7)), r"conv1\.weight has shape"),
        (lambda s: s.update({3: torch.zeros(1)}), "must be a dictionary of tensors by name"),
        (lambda s: s.clear(), r"lack conv1\.weight \(265 such\)"),
    ],
)
def test_weights_of_another_network_are_one_line_and_change_nothing(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    network, state = small(), dict(small(seed=1).state_dict())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InvalidInput, match=message) as error:
        load_weights(network, tmp_path / "w.pth")
    assert str(error.value).isprintable()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.filterwarnings("ignore")  # of what is being refused
@pytest.mark.parametrize("kind", ["quantized", "nested"])
def test_tensors_of_another_kind_are_refused(kind: str, tmp_path: Path) -> None:
    state = dict(small(seed=1).state_dict())
    shape = state["conv1.weight"].shape
    if kind == "quantized":
        state["conv1.weight"] = torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.qint8)
    else:
        state["conv1.weight"] = torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        InvalidInput, match=r"^weights .* (conv1\.weight is not a plain tensor|must be tensors only: \w)"
    ):
        load_weights(small(), tmp_path / "w.pth")


def zipped(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("w.pth", b"", r"must be tensors only: \w+"),
        ("w.pth", b"no pickle", "must be tensors only"),
        ("w.pth", zipped({"a": torch.zeros(100)})[:-60], "must be tensors only"),
        ("w.pth", zipped([torch.zeros(1)]), "must be a dictionary of tensors by name"),
        ("w.safetensors", b"", "are not a safetensors file"),
        ("w.safetensors", b"\xff" * 40, "are not a safetensors file"),
        ("w.bin", b"", r"must be a \.pth, \.pt or \.safetensors file"),
    ],
)
def test_other_files_are_refused_in_one_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidInput, match=message) as error:
        load_weights(small(), tmp_path / name)
    assert str(error.value).isprintable()


def test_a_pipe_does_not_hang_and_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InvalidInput, match="is not a regular file"):
        load_weights(small(), tmp_path / "pipe.pth")
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        load_weights(small(), tmp_path / "none.pth")
    monkeypatch.setattr(resnets, "LIMIT", 1000)
    with pytest.raises(InvalidInput, match="at most 1,000 are read"):
        load_weights(small(), saved(small(), tmp_path / "w.pth"))


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pth"
    parts = zipfile.ZipFile(io.BytesIO(zipped({"a": torch.zeros(1_000_000)})))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in parts.namelist():
            packed.writestr(name, parts.read(name))
    monkeypatch.setattr(resnets, "LIMIT", 1_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(
        InvalidInput, match=r"must be tensors only: unpacked they have 4,00\d,\d+ bytes; at most 1,000,000"
    ):
        load_weights(small(), path)


@pytest.mark.parametrize("change", [lambda x: x.double() + 1e300, lambda x: (x + float("nan")).to(torch.float8_e4m3fn)])
def test_numbers_that_are_finite_in_their_own_type_only_are_refused(change: Any, tmp_path: Path) -> None:
    network = Bottlenecks("resnet50", width=4)
    tensors = network.state_dict()
    tensors["bn1.weight"] = change(tensors["bn1.weight"])
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(InvalidInput, match="not finite or of another kind"):
        load_weights(network, tmp_path / "w.pth")
