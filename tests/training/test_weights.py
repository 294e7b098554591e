"""Pretrained weights from files: the forms that people have, and files that may mean harm."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.model import weights
from training.model.imagenet_resnets import Bottlenecks
from training.model.weights import load_weights


def small(trains: str = "all", seed: int = 0) -> Bottlenecks:
    torch.manual_seed(seed)
    return Bottlenecks("resnet50", width=2, trains=trains)


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
        (
            lambda s: s.pop("layer4.2.bn3.bias"),
            r"lack layer4\.2\.bn3\.bias \(1 such\); the file has the keys conv1\.weight, bn1",
        ),
        (with_("layer4.3.conv1.weight", torch.zeros(1)), r"have the unknown layer4\.3\.conv1\.weight \(1 such\)"),
        (with_("layer1.od\x1b[2Jd\n", torch.zeros(1)), r"have the unknown layer1\.od\\x1b\[2Jd  \(1 such\)"),
        (with_("conv1.weight", torch.zeros(2, 3, 3, 3)), r"conv1\.weight has shape \(2, 3, 3, 3\), not \(2, 3, 7, 7\)"),
        (with_("conv1.weight", torch.full((2, 3, 7, 7), torch.nan)), r"conv1\.weight has values that are not finite"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7, dtype=torch.int64)), r"conv1\.weight has values that are not"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7).to_sparse()), r"conv1\.weight is not a plain tensor"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7, device="meta")), r"conv1\.weight is not a plain tensor"),
        (with_("conv1.weight", [1, 2]), r"conv1\.weight is not a plain tensor"),
        (with_("conv1.weight", torch.zeros(2, 3, 7, 7, dtype=torch.complex64)), r"conv1\.weight is not a plain tensor"),
        (with_("bn1.running_var", torch.tensor([1.0, -1e-3])), r"bn1\.running_var has negative variances"),
        (with_("conv1.weight", torch.zeros(()).expand(2, 3, 10**9, 7)), r"conv1\.weight has shape"),
        (lambda s: s.clear(), r"lack conv1\.weight \(265 such\); the file has no keys; take"),
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
        (
            "w.bin",
            pickle.dumps({"a": [1]}, 4),
            "must be tensors only: Unsupported operand 149",
        ),  # and nothing of torch's advice
        ("w.pth", zipped({"a": torch.zeros(100)})[:-60], "must be tensors only"),
        ("w.pth", zipped([torch.zeros(1)]), "must be a dictionary of tensors by name"),
        ("w.safetensors", b"", "are not a safetensors file"),
        ("w.safetensors", b"\xff" * 40, "are not a safetensors file"),
        ("w.onnx", b"", r"must be a \.pth, \.pt, \.pth\.tar, \.ckpt, \.bin or \.safetensors file"),
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
    monkeypatch.setattr(weights, "LIMIT", 1000)
    with pytest.raises(InvalidInput, match="at most 1,000 are read"):
        load_weights(small(), saved(small(), tmp_path / "w.pth"))


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pth"
    parts = zipfile.ZipFile(io.BytesIO(zipped({"a": torch.zeros(1_000_000)})))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in parts.namelist():
            packed.writestr(name, parts.read(name))
    monkeypatch.setattr(weights, "LIMIT", 1_000_000)
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


Form = Callable[[dict[str, Tensor]], dict[Any, Any]]
SEQUENCE = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def below(prefix: str) -> Form:
    return lambda state: {prefix + key: value for key, value in state.items()}


def as_sequence(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys of nn.Sequential(*network.children()), as SimCLR's and lightly's users save it."""
    parts = {key: key.split(".", 1) for key in state}
    return {f"backbone.{SEQUENCE[parts[key][0]]}.{parts[key][1]}": value for key, value in state.items()}


OTHER = torch.zeros(3)
FORMS: dict[str, tuple[str, Form]] = {
    "a state_dict in a .pth.tar": ("w.pth.tar", lambda s: {"state_dict": s, "epoch": 3, "arch": "resnet50"}),
    "MiSLAS": ("w.pth", lambda s: {"state_dict_model": s, "state_dict_classifier": {"fc.weight": OTHER}}),
    "MoCo": (
        "w.pth.tar",
        lambda s: {
            "state_dict": below("module.encoder_q.")(s)
            | {"module.encoder_q.fc.0.weight": OTHER, "module.queue": OTHER}
            | below("module.encoder_k.")({key: value * 0 for key, value in s.items()})
        },
    ),
    "DINO": ("w.pth", lambda s: {"student": below("module.backbone.")(s), "teacher": below("backbone.")(s)}),
    "timm": ("w.pth", lambda s: {"model": s, "optimizer": {"state": {0: {"step": OTHER}}, "param_groups": [{}]}}),
    "options in a Namespace": ("w.pth", lambda s: {"state_dict": s, "args": argparse.Namespace(lr=0.1, name="a")}),
    "other objects": (
        "w.ckpt",
        lambda s: {
            "state_dict": below("backbone.")(s),
            "best": np.float64(3.5),
            "rows": np.arange(3),
            "more": types.SimpleNamespace(a=1),
        },
    ),
    "VISSL": (
        "w.torch.pth",
        lambda s: {"classy_state_dict": {"base_model": {"model": {"trunk": below("_feature_blocks.")(s)}}}},
    ),
    "a sequence": ("w.ckpt", lambda s: {"state_dict": as_sequence(s) | {"projection_head.0.weight": OTHER}}),
    "a number as a key": ("w.bin", lambda s: {**s, 3: OTHER}),
    "safetensors with a prefix": ("w.safetensors", below("backbone.")),
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_the_forms_that_people_have(form: str, tmp_path: Path) -> None:
    name, change = FORMS[form]
    given, network = small(seed=1), small(seed=2)
    content = change(given.state_dict())
    if name.endswith(".safetensors"):
        save_file(content, tmp_path / name)
    else:
        torch.save(content, tmp_path / name)
    load_weights(network, tmp_path / name)
    assert all(torch.equal(value, given.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_file_of_nothing_that_fits_is_refused_with_its_own_keys(tmp_path: Path) -> None:
    state = {f"blocks.{i}.attn.qkv.weight": OTHER for i in range(12)}
    torch.save({"epoch": 3, "model": state}, tmp_path / "vit.pth")
    with pytest.raises(
        InvalidInput,
        match=r"lack conv1\.weight \(265 such\); the file has the keys model\.blocks\.0\.attn\.qkv\.weight, .*\.\.\.;",
    ):
        load_weights(small(), tmp_path / "vit.pth")
    torch.save(
        {"state_dict": below("module.encoder.")(Bottlenecks("resnet152", width=2).state_dict())}, tmp_path / "w.pth"
    )
    with pytest.raises(
        InvalidInput, match=r"have the unknown layer\S+ below 'state_dict\.module\.encoder\.' \(\d+ such\)"
    ):
        load_weights(small(), tmp_path / "w.pth")


def test_two_networks_that_fit_are_not_chosen_between(tmp_path: Path) -> None:
    state = small(seed=1).state_dict()
    torch.save({"a": state, "b": below("module.")({**state})}, tmp_path / "w.pth")
    with pytest.raises(InvalidInput, match=r"hold 2 such networks, below 'a\.' and 'b\.module\.'; save one"):
        load_weights(small(), tmp_path / "w.pth")


class Calls:
    """Asks to call a function of a module that may be imported."""

    def __init__(self, function: Any, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [eval, os.system, pickle.loads, types.SimpleNamespace, np.asarray])
def test_objects_beside_the_weights_run_nothing(function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the operating system and of Python itself are refused; others become stand-ins, and weights may be none."""
    for place in ("args", "conv1.weight"):
        network, mark = small(), tmp_path / "harmed"
        word: Any = b"cos\nsystem\n(S'touch %s'\ntR." % str(mark).encode()
        harm = Calls(function, word if function is pickle.loads else f"open({str(mark)!r}, 'w')")
        torch.save({**small(seed=1).state_dict(), place: harm}, tmp_path / "w.pth")
        if place == "args" and function not in (eval, os.system):
            load_weights(network, tmp_path / "w.pth")
        else:
            with pytest.raises(
                InvalidInput, match=r"asks to run (eval|posix\.system)|conv1\.weight is not a plain tensor"
            ):
                load_weights(network, tmp_path / "w.pth")
        assert not mark.exists()


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"state_dict": small(seed=1).state_dict()}
    content["itself"] = content
    torch.save(content, tmp_path / "w.pth")
    load_weights(small(), tmp_path / "w.pth")
