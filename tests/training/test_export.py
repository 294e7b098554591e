"""Networks written for other programs: what is written predicts what the run predicted, or nothing is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors

from lpm.console.cli import run as run_command
from tests.training.own import older, pets, trained
from training import train
from training.batches import sources
from training.config import RunConfig
from training.data import datasets, own_code
from training.export import main as export
from training.model import build
from training.run import exported
from training.run.corrections import CORRECTIONS, Finished, Options
from training.run.inference import network_of
from training.second_stage import second_stage
from training.store.runs import RunFolder, find

OWN = "tests.training.own_network"
FILES = {
    "onnx": ["network.onnx"],
    "torchscript": ["network.pt"],
    "safetensors+py": ["network.py", "network.safetensors"],
}
SMALL = replace(RunConfig(), model="resnet8", width=4)
PLACES = replace(RunConfig(dataset="imagenet-lt"), model="resnet50", width=4, classifier="etf", size=32)
NETWORKS = {
    "fc": SMALL,
    "cosine": replace(SMALL, classifier="cosine"),
    "etf": replace(SMALL, classifier="etf", loss="dr", width=16),
    "ms-wetf": replace(SMALL, classifier="ms-wetf", width=16),
    "dbn-mix": replace(SMALL, branches="dbn", sampler="bilateral"),
    "lws": second_stage(replace(SMALL, preset="bare"), "lws"),
    "bottlenecks, partly frozen": replace(PLACES, classifier="fc", classes=0, pretrained=True, trains="stage4"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    store = tmp_path_factory.mktemp("store")
    words = ["--epochs", "2", "--warmup", "0", "--width", "4", "--quiet", "--device", "cpu", "--store", str(store)]
    assert run_command(lambda: train.main(words)) == 0
    (folder,) = find(store)
    return folder


@pytest.mark.parametrize("form", FILES)
def test_what_is_written_predicts_what_the_run_predicted(
    form: str, run: RunFolder, tmp_path: Path, capsys: Any
) -> None:
    if form == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason=f"ONNX needs {package}, which is not installed")
    out = tmp_path / "out"
    assert run_command(lambda: export([str(run.path), "--format", form, "--out", str(out)])) == 0
    printed = capsys.readouterr()
    assert "predicts what the run predicted, on 10 test images" in printed.out
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES[form], "manifest.json"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["classes"] == [str(k) for k in range(10)]
    assert manifest["input"]["pixels"] == ["images", 1, 8, 8]


def test_the_code_needs_nothing_of_this_project(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_command(lambda: export([str(run.path), "--format", "safetensors+py", "--out", str(out)])) == 0
    program = (
        "import torch; from network import load; torch.set_num_threads(1); "
        "print(load()(torch.full((2, 1, 8, 8), 0.25))[1].tolist())"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=out, capture_output=True, text=True, check=True)
    data = datasets.of(run.config, None, train_list=None, test_list=None)
    with torch.no_grad():
        pixels = (torch.full((2, 1, 8, 8), 0.25) - data.mean[0]) / data.std[0]
        expected = network_of(run, 1, torch.device("cpu"))(pixels)[1]
    assert json.loads(ended.stdout) == pytest.approx(expected.tolist(), abs=1e-4)
    assert not re.search(r"import .*(training|lpm)", (out / "network.py").read_text())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("write", [exported.code, exported.torchscript])
def test_every_kind_of_network_can_be_written(name: str, write: Any, tmp_path: Path) -> None:
    config = NETWORKS[name]
    network, generator = build.network(config, 3).eval(), torch.Generator().manual_seed(2)
    with torch.no_grad():  # as if trained: means and variances of BatchNorm that are not 0 and 1
        for key, tensor in network.state_dict().items():
            if "running" in key:
                low, high = (0.5, 1.5) if key.endswith("var") else (-0.2, 0.2)
                tensor.uniform_(low, high, generator=generator)
    module = exported.Pixels(network, torch.full((3, 1, 1), 0.4), torch.full((3, 1, 1), 0.3)).eval()
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    more = ("cifar10-lt",) if write is exported.code else ()
    scores = write(module, pixels, tmp_path, *more)
    new = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))  # another number of images
    with torch.no_grad():
        expected = network((new - 0.4) / 0.3).numpy()
    assert scores(new.numpy()) == pytest.approx(expected, rel=1e-4, abs=1e-4 * float(np.abs(expected).max()))
    assert expected.std() > 0


class Alike(torch.nn.Module):
    """Layers whose names differ in "." and "_" alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a_b = torch.nn.ModuleDict({"c": torch.nn.Conv2d(3, 4, 3)})
        self.a = torch.nn.ModuleDict({"b_c": torch.nn.Conv2d(4, 8, 3)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score classes."""
        y: torch.Tensor = self.a["b_c"](self.a_b["c"](x)).mean(dim=(2, 3))
        return y


def test_layers_whose_names_are_alike_stay_two(tmp_path: Path) -> None:
    module = exported.Pixels(Alike(), torch.zeros(3, 1, 1), torch.ones(3, 1, 1)).eval()  # type: ignore[arg-type]
    pixels = torch.rand(2, 3, 16, 16)
    assert exported.code(module, pixels, tmp_path, "own")(pixels.numpy()) == pytest.approx(
        module(pixels).detach().numpy(), abs=1e-6
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_logit_adjustment_is_written_with_the_network(run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    place, words = tmp_path / "out", [str(run.path), "--format", "torchscript", "--out"]
    assert run_command(lambda: export([*words, str(place), "--correction", "la", "--tau", "0.5"])) == 0
    assert "predicts what the run predicted, after post-hoc logit adjustment, on 10" in capsys.readouterr().out
    assert json.loads((place / "manifest.json").read_text())["correction"] == {"name": "la", "tau": 0.5}
    assert run_command(lambda: export([*words, str(tmp_path / "plain")])) == 0
    pixels = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    counts = np.array(run.result().train_counts)
    with torch.no_grad():
        corrected, plain = (
            torch.jit.load(folder / "network.pt")(pixels).numpy() for folder in (place, tmp_path / "plain")
        )
    assert corrected == pytest.approx(plain - 0.5 * np.log(counts / counts.sum()), abs=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "settings", "record"),
    [
        ("ncm", "", {"features": "cl2n"}),
        ("ncm", "--ncm-features un", {"features": "un"}),
        ("tau-norm", "--tau 0.5", {"tau": 0.5, "bias": False}),
        ("tau-norm", "--tau 0.5 --bias", {"tau": 0.5, "bias": True}),
        ("bn", "", {}),
    ],
)
def test_other_corrections_are_written_too(
    name: str, settings: str, record: dict[str, Any], run: RunFolder, tmp_path: Path
) -> None:
    scores = []
    for form in ("torchscript", "safetensors+py"):
        words = [str(run.path), "--format", form, "--correction", name, "--out", str(tmp_path / form[:5])]
        assert run_command(lambda words=words: export([*words, *settings.split()])) == 0
        assert json.loads((tmp_path / form[:5] / "manifest.json").read_text())["correction"] == {"name": name} | record
    cpu, data = torch.device("cpu"), datasets.load("digits-lt", None, imbalance=run.config.imbalance)
    finished = Finished(run.config, network_of(run, 1, cpu), data, cpu)
    expected = CORRECTIONS[name].scores(finished, "test", Options(**record))
    mean, std = sources.constants(data.mean, data.std, cpu)
    pixels = next(iter(finished.source.test(torch.arange(40)))) * std + mean
    with torch.no_grad():
        scores.append(torch.jit.load(tmp_path / "torch/network.pt")(pixels).numpy())
    namespace: dict[str, Any] = {}
    exec((tmp_path / "safet/network.py").read_text(), namespace)
    with torch.no_grad():
        scores.append(namespace["load"](tmp_path / "safet/network.safetensors")(pixels).numpy())
    for one in scores:
        assert one == pytest.approx(expected[:40], abs=1e-4)


def test_a_run_on_files_is_written_and_other_images_are_refused(tmp_path: Path, capsys: Any) -> None:
    root, store = pets(tmp_path / "data"), tmp_path / "store"
    assert trained(root, store) == 0
    (folder,) = find(store)
    words = [str(folder.path), "--format", "torchscript", "--out", str(tmp_path / "out")]
    assert run_command(lambda: export([*words, "--data-root", str(root)])) == 0
    assert json.loads((tmp_path / "out/manifest.json").read_text())["checked_images"] == 7  # all that there are
    assert json.loads((tmp_path / "out/manifest.json").read_text())["classes"] == ["dog", "emu", "cat"]
    capsys.readouterr()
    other = pets(tmp_path / "other")
    (other / "test/cat/00.jpg").write_bytes((other / "test/cat/01.jpg").read_bytes())
    words[-1] = str(tmp_path / "refused")
    assert run_command(lambda: export([*words, "--data-root", str(other)])) == 2
    assert "error: " in (err := capsys.readouterr().err)
    assert err.count("\n") == 1
    assert run_command(lambda: export(words)) == 2
    assert "needs --data-root" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


def test_files_that_predict_otherwise_are_not_written(run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    copy = RunFolder(tmp_path / "store", run.config)
    copy.path.mkdir(parents=True)
    for file in run.path.iterdir():
        (copy.path / file.name).write_bytes(file.read_bytes())
    final = older(copy).path / "final.safetensors"
    arrays = load_arrays(final.read_bytes())
    arrays["test_answers"] = (arrays["test_answers"] + 1) % 10
    final.write_bytes(save_arrays(arrays))
    assert run_command(lambda: export([str(copy.path), "--format", "torchscript", "--out", str(tmp_path / "out")])) == 2
    err = capsys.readouterr().err
    assert "image 1 is predicted as class" in err
    assert "nothing is written" in err
    for wrong in (arrays["test_answers"][1:], arrays["test_answers"] + 10):
        final.write_bytes(save_arrays(arrays | {"test_answers": wrong}))
        words = [str(copy.path), "--format", "torchscript", "--out", str(tmp_path / "out")]
        assert run_command(lambda words=words: export(words)) == 2
        assert "do not fit its data" in capsys.readouterr().err
    del arrays["test_answers"]
    final.write_bytes(save_arrays(arrays))
    assert run_command(lambda: export([str(copy.path), "--format", "torchscript", "--out", str(tmp_path / "out")])) == 2
    assert "has no predictions, because an older version made it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_differences_beyond_rounding_are_found() -> None:
    logits = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.98]], np.float32)
    stored = np.array([0, 1])
    assert exported.difference(logits, logits, stored, bf16=False) == ""
    assert exported.difference(logits + 2e-4, logits, stored, bf16=False) == ""
    assert "more than rounding" in exported.difference(logits + 4e-4, logits, stored, bf16=False)
    assert "more than rounding" in exported.difference(logits * np.nan, logits, stored, bf16=False)
    assert "shape" in exported.difference(logits[:, :2], logits, stored, bf16=False)
    near = np.array([0, 2])  # 1.98 beside 2: as near as bfloat16 rounds, and not as float32 does
    assert exported.difference(logits, logits, near, bf16=True) == ""
    assert "image 2 is predicted as class 1" in exported.difference(logits, logits, near, bf16=False)
    assert "image 1" in exported.difference(logits, logits, np.array([1, 1]), bf16=True)


def test_weights_of_the_code_are_plain_tensors(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_command(lambda: export([str(run.path), "--format", "safetensors+py", "--out", str(out)])) == 0
    tensors = load_tensors((out / "network.safetensors").read_bytes())
    assert torch.equal(
        tensors["classifier_linear.weight"], torch.tensor(run.final()["network.classifier.linear.weight"])
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, RunFolder]]]:
    """Data, and runs of networks of one's own by the functions that make them."""
    root, made = pets(tmp_path_factory.mktemp("data")), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(own_code.VARIABLE, "")
        for name in ("attention", "branching", "untraceable"):
            store = tmp_path_factory.mktemp("store")
            words = ["--dataset", "own", "--data-root", str(root), "--store", str(store), "--device", "cpu", "--quiet"]
            words += ["--workers", "0", "--size", "32", "--epochs", "1", "--batch", "16", "--jitter", "0"]
            assert run_command(lambda w=words, n=name: train.main([*w, "--model", f"{OWN}:{n}"])) == 0  # type: ignore[misc]
            (made[name],) = find(store)
        yield root, made


@pytest.mark.parametrize(
    ("name", "form", "refused"),
    [
        ("attention", "onnx", ""),
        ("attention", "torchscript", ""),
        (
            "attention",
            "safetensors+py",
            r"\(invalid syntax \(network\.py, line \d+\)\); --format onnx or torchscript may",
        ),
        ("branching", "onnx", r"\(.*data-dependent.*\); --format torchscript may"),
        ("branching", "torchscript", ""),
        ("branching", "safetensors+py", r"\(symbolically traced variables .*\); --format onnx or torchscript may"),
        ("untraceable", "torchscript", r"\(it cannot be traced\); --format onnx may"),
    ],
)
def test_a_form_that_cannot_hold_an_own_network_says_which_may(
    name: str, form: str, refused: str, own: Any, tmp_path: Path, capfd: Any
) -> None:
    if form == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason=f"ONNX needs {package}, which is not installed")
    root, runs = own
    out = tmp_path / "out"
    capfd.readouterr()
    words = [str(runs[name].path), "--data-root", str(root), "--format", form, "--out", str(out)]
    assert run_command(lambda: export(words)) == (2 if refused else 0)
    err = capfd.readouterr().err
    if refused:
        assert re.fullmatch(rf"error: {re.escape(form)} cannot hold this network {refused}\n", err)
        assert not out.exists()
    else:
        asks = "note: the network's code asks for values or shapes; network.pt goes the ways that 7 test images took\n"
        assert (asks in err) == (name == "branching")
        assert err.count("\n") == 1 + (name == "branching")
        assert sorted(path.name for path in out.iterdir()) == sorted([*FILES[form], "manifest.json"])
