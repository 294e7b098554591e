"""Networks of others: a function of one's own runs only where the user has named it, timm's only from local files."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training import own_network
from tests.training.own import pets
from tests.training.own_network import Small
from training import train
from training.config import RunConfig
from training.data import own_code
from training.export import main as export
from training.model import build
from training.model.backbones import Other, code_of
from training.model.weights import load_weights
from training.predict import main as predict
from training.store.runs import find

OWN = "tests.training.own_network:small"
CONFIG = RunConfig(dataset="own", classes=3, size=32)


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(own_code.VARIABLE, "")


def test_a_stored_run_names_code_and_does_not_run_it(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    root, store = pets(tmp_path / "data"), tmp_path / "store"
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(store), "--device", "cpu", "--workers", "0"]
    words += ["--size", "32", "--epochs", "1", "--batch", "16", "--jitter", "0", "--quiet", "--model", OWN]
    assert run_command(lambda: train.main(words)) == 0
    (folder,) = find(store)
    assert folder.config.model == OWN
    for command, more in (
        (predict, [str(root / "test/dog")]),
        (export, ["--format", "safetensors+py", "--data-root", str(root)]),
    ):
        monkeypatch.setenv(own_code.VARIABLE, "")
        given = [str(folder.path), *more, *(["--out", str(tmp_path / "out")] if command is export else [])]
        capsys.readouterr()
        assert run_command(lambda c=command, g=given: c(g)) == 2
        err = capsys.readouterr().err
        assert f"--trust-code {OWN} runs it" in err
        assert err.count("\n") == 1
        assert run_command(lambda c=command, g=given: c([*g, "--trust-code", OWN])) == 0
    assert "nn.Conv2d(3, 6, kernel_size=(3, 3), stride=(2, 2))" in (tmp_path / "out/network.py").read_text()


def test_trust_is_for_one_name_and_reaches_processes() -> None:
    own_code.trust(OWN)
    own_code.trust("a.b:c")
    own_code.trust(OWN)
    assert os.environ[own_code.VARIABLE].split() == ["a.b:c", OWN]
    assert own_code.function_of(OWN, "--model")(3).convolution.in_channels == 3
    with pytest.raises(InvalidInput, match=r"--trust-code tests\.training\.own_network:unpooled runs it"):
        own_code.function_of("tests.training.own_network:unpooled", "--model")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.training.own_network:unpooled", "must return features of shape (images, width)"),
        ("tests.training.own_network:auxiliary", "pooled and without classes, in training mode, too"),
        ("tests.training.own_network:untrainable", "of 32 x 32 pixels in training mode: a teacher is missing"),
        ("tests.training.own_network:no_network", "returns str, no torch.nn.Module"),
        ("tests.training.own_network:none", "cannot be imported: module 'tests.training.own_network' has no attribute"),
        ("no_such_module:small", "cannot be imported: No module named 'no_such_module'; start the"),
        ("tests.training.own_network:OWN_NUMBER", "cannot be imported"),
    ],
)
def test_code_that_makes_no_backbone_is_one_line(name: str, message: str) -> None:
    own_code.trust(name)
    with pytest.raises(InvalidInput, match=re.escape(message)) as refused:
        build.network(replace(CONFIG, model=name), 3)
    assert str(refused.value).isprintable()


def test_looking_at_a_backbone_changes_neither_its_statistics_nor_the_draws() -> None:
    name = "tests.training.own_network:dropping"
    own_code.trust(name)
    torch.manual_seed(0)
    own_network.dropping(3)
    draw = torch.rand(1)
    torch.manual_seed(0)
    made = Other(name, size=32)
    assert torch.equal(torch.rand(1), draw)
    assert torch.equal(made.body.norm.running_var, torch.ones(6))
    assert made.body.norm.num_batches_tracked == 0


def test_code_that_raises_is_shown_by_its_own_lines(tmp_path: Path, capsys: Any) -> None:
    root = pets(tmp_path / "data")
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), "--device", "cpu"]
    for name, lines, message in (
        ("tests.training.own_network:failing", 2, "failing raised RuntimeError: of the user's own "),
        ("os:system", 1, "system raised TypeError: "),
    ):
        assert run_command(lambda n=name: train.main([*words, "--workers", "0", "--quiet", "--model", n])) == 2
        said = capsys.readouterr().err.splitlines()
        *frames, error = [line for line in said if not line.startswith("note: ")]
        assert error.startswith(f"error: --model {name.partition(':')[0]}:{message}")
        assert error.isprintable()
        assert len(frames) == lines - 1
        assert all(f"{Path(own_network.__file__)}:" in frame and " in failing: raise Run" in frame for frame in frames)


def test_names_that_are_neither_networks_nor_code_are_refused() -> None:
    for name in (
        "resnet9",
        "timm:hf-hub:a/b",
        "timm:",
        "a:b:c",
        "../a:b",
        "a.b",
        "a b:c",
        "timm:Res",
        f"a:{'b' * 300}",
    ):
        with pytest.raises(InvalidInput, match="is unknown; choose one of"):
            replace(CONFIG, model=name)
    for change, message in (
        ({"trains": "stage4", "pretrained": True}, "is not defined for model"),
        ({"width": 8}, "--width and --branches are not defined"),
        ({"dataset": "cifar10-lt", "classes": 0, "size": 0}, "applies only to image files"),
    ):
        with pytest.raises(InvalidInput, match=message):
            replace(CONFIG, model=OWN, **change)


def test_weights_of_an_own_network_are_found_below_a_prefix(tmp_path: Path) -> None:
    own_code.trust(OWN)
    torch.manual_seed(1)
    source = Small(3)
    file = tmp_path / "w.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}, file)
    config = replace(CONFIG, model=OWN, pretrained=True, trains="classifier")
    network = build.network(config, 3, file)
    assert isinstance(network.backbone, Other)
    for key, value in source.state_dict().items():
        assert torch.equal(network.backbone.body.state_dict()[key], value), key
    network.train()
    assert not network.backbone.body.training
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        "classifier.linear.weight",
        "classifier.linear.bias",
    }
    torch.save({"other": torch.zeros(3)}, file)
    with pytest.raises(InvalidInput, match="lack"):
        load_weights(network.backbone, file)


def test_a_network_of_timm_starts_from_a_local_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm cannot be imported", exc_type=ImportError)
    torch.manual_seed(0)
    source = timm.create_model("resnet10t", pretrained=False)
    file = tmp_path / "resnet10t.pth"
    torch.save(source.state_dict(), file)  # with its classifier, which is left out
    config = replace(CONFIG, model="timm:resnet10t", pretrained=True, trains="classifier", precision="fp32")
    network = build.network(config, 3, file).eval()
    x = torch.rand(2, 3, 32, 32)
    source.eval()
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(x), pre_logits=True)
        assert torch.allclose(network.backbone(x), expected, atol=1e-5)
    with pytest.raises(InvalidInput, match="is unknown to timm"):
        build.network(replace(config, model="timm:resnet51x"), 3)


def test_without_timm_its_networks_say_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(InvalidInput, match=r"^model timm:resnet50d needs timm, which .*: pip install timm$"):
        build.network(replace(CONFIG, model="timm:resnet50d"), 3)


def test_what_is_no_dotted_name_is_not_trusted(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        predict(["a", "b", "--trust-code", "os.system"])
    assert "'os.system' is not package.module:function" in capsys.readouterr().err
    assert os.environ[own_code.VARIABLE] == ""


def test_a_hash_is_of_the_module_and_of_those_beside_it_that_it_needs(tmp_path: Path, monkeypatch: Any) -> None:
    files = {
        "ownpack/__init__.py": "from .nets import made\n",
        "ownpack/nets.py": "import torch\n\n\ndef made(c):\n    from ownbeside import of\n    from . import parts\n",
        "ownpack/parts.py": "from ..beyond import x\nfrom ..ownpack import nets\n",
        "ownpack/unused.py": "1\n",
        "ownbeside.py": "import training.data\nimport ownpack\n\nof = 1\n",
        "training/data/__init__.py": "1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    own_code.trust("ownpack:made")

    def digest() -> str:
        return own_code._hash("ownpack")

    before = own_code.source_hash("ownpack:made", "--model")
    assert digest() == before
    changes = []
    for name in files:
        (tmp_path / name).write_text(files[name] + "# edited\n")
        changes += [name] if digest() != before else []
        assert own_code.source_hash("ownpack:made", "--model") == before  # this process runs what it has imported
        (tmp_path / name).write_text(files[name])
    assert changes == ["ownpack/__init__.py", "ownpack/nets.py", "ownpack/parts.py", "ownbeside.py"]
    assert code_of("resnet18") == ""
    own_code.trust("os.path:join", "json:loads", "itertools:chain")
    hashes = {own_code.source_hash(name, "--model") for name in ("os.path:join", "json:loads", "itertools:chain")}
    assert len(hashes) == 3
