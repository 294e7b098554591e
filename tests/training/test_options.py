"""What the commands say of their options, and how they fit a recipe to the data."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import training.__main__ as listing
from lpm.console.cli import run as run_command
from tests.training.own import pets
from training import compare, table, train
from training.config import RunConfig, with_preset
from training.data.found import number_of_images
from training.options import config_of, dataset_in, fitted_batch
from training.store.runs import find


def printed(main: Callable[[list[str]], int], capsys: Any, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("main", [train.main, compare.main])
def test_help_comes_in_groups_with_the_presets_numbers(main: Callable[[list[str]], int], capsys: Any) -> None:
    text = printed(main, capsys, "--help")
    titles = [text.index(f" {title}: --") for title in ("data", "method")]
    titles += [
        text.index(" recipe: The preset sets these; values in brackets are those of digits-lt."),
        text.index(" run: --"),
    ]
    assert titles == sorted(titles)
    assert "number of epochs (paper 200, quick 30, smoke 40)" in text
    assert "momentum of SGD (default: 0.9)" in text
    text = printed(main, capsys, "--help", "--dataset=own")
    assert "number of epochs (paper 180, quick 30, smoke 2, features 100, strong 120)" in text
    assert "jitter of brightness, contrast and saturation; for augmented image files" in text
    assert "(paper 0.4, quick 0, smoke 0, features 0, strong 0)" in text
    assert dataset_in(["--dataset", "places-lt", "--dataset", "no such"]) == "places-lt"


def test_the_table_has_groups_and_events_too(capsys: Any) -> None:
    text = printed(table.main, capsys, "--help")
    assert " data: --data-root" in text
    assert "--tensorboard also write TensorBoard events" in text


def test_the_package_lists_its_commands(capsys: Any) -> None:
    assert listing.main([]) == 0
    text = capsys.readouterr().out
    folder = Path(train.__file__).parent
    commands = {file.stem for file in folder.glob("*.py") if 'if __name__ == "__main__":' in file.read_text()}
    assert commands - {"__main__"} == set(listing.COMMANDS)
    assert all(f"python -m training.{name} " in text for name in commands - {"__main__"})
    assert listing.main(["train"]) == 2
    assert "type python -m training.train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "batch"),
    [(20, 16), (100, 16), (293, 32), (580, 64), (1200, 128), (2304, 128), (2305, 256), (10**6, 256)],
)
def test_quick_makes_some_hundred_steps_of_few_images(images: int, batch: int) -> None:
    config = with_preset(RunConfig(dataset="own", classes=2), "quick")
    assert fitted_batch(config, images) == batch
    steps = config.epochs * -(-images // batch)
    assert steps >= 300 or batch == 16
    assert batch == 256 or config.epochs * -(-images // (2 * batch)) < 300


def of(root: Path, **options: Any) -> RunConfig:
    given = {"train_list": None, "preset": None, "data_root": root, "dataset": "own", **options}
    return config_of(argparse.Namespace(**given))


def test_the_fitted_batch_is_the_runs_and_other_runs_stay_what_they_were(tmp_path: Path) -> None:
    root = pets(tmp_path / "data")
    before = replace(with_preset(RunConfig(dataset="own", classes=3), "quick"), preset="quick")
    assert of(root, preset="quick") == replace(before, batch=16)  # 46 images
    assert of(root, preset="quick", batch=16) == replace(before, batch=16)
    assert of(root, preset="quick", batch=256) == before  # as an earlier version trained it
    assert of(root, preset="quick", batch=64) == replace(before, batch=64, preset="quick+")
    assert of(root, preset="quick", lr=0.2).batch == 16
    assert of(root, preset="smoke").batch == 64
    assert of(root).batch == 256
    (root / "list.txt").write_text("".join(f"train/dog/{i:02d}.jpg 0\n" for i in range(30)) * 2)
    assert number_of_images(root, root / "list.txt") == 30
    (root / "train/dog/notes.txt").touch()  # refused later, with all others
    assert of(root, preset="quick").batch == 16


def test_few_epochs_need_no_word_on_the_warm_up(tmp_path: Path) -> None:
    for epochs, warmup in ((1, 0), (4, 0), (5, 5), (200, 5)):
        options = argparse.Namespace(preset=None, dataset="cifar10-lt", imbalance=100.0, epochs=epochs)
        assert config_of(options).warmup == warmup
    options = argparse.Namespace(preset=None, dataset="cifar10-lt", imbalance=100.0, epochs=3, warmup=2)
    assert config_of(options).warmup == 2


@pytest.mark.parametrize("main", [train.main, compare.main], ids=["train", "compare"])
def test_every_error_has_one_prefix(main: Callable[[list[str]], int], tmp_path: Path, capsys: Any) -> None:
    for words in (["--epoch", "3"], ["--epochs", "x"], ["--epochs", "0"], ["--dataset", "own"]):
        try:
            status = run_command(lambda words=words: main([*words, "--store", str(tmp_path)]))
        except SystemExit as end:
            status = int(end.code or 0)
        assert status == 2
        assert capsys.readouterr().err.startswith("error: ")


class Events:
    """TensorBoard's writer, as far as runs use it."""

    written: ClassVar[list[tuple[str, str, int]]] = []

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_scalar(self, name: str, value: float, epoch: int) -> None:
        self.written.append((f"{self.folder.parent.parent.name}/{self.folder.parent.name}", name, epoch))

    def close(self) -> None:
        pass


def test_compare_and_table_write_events_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Events  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Events, "written", [])
    words = [
        "--store",
        str(tmp_path / "s"),
        "--device",
        "cpu",
        "--quiet",
        "--tensorboard",
        "--epochs",
        "2",
        "--width",
        "4",
    ]
    assert run_command(lambda: compare.main([*words, "--method", "random+FC", "CAS+FC"])) == 0
    runs = {folder.config.folder for folder in find(tmp_path / "s")}
    assert {run for run, name, _ in Events.written if name == "test_all"} == runs
    assert sorted(epoch for _, name, epoch in Events.written if name == "loss") == [1, 1, 2, 2]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert run_command(lambda: train.main(["--store", str(tmp_path / "s"), "--quiet", "--tensorboard"])) == 2
    install = 'pip install -c constraints.txt -e ".[tensorboard]"'
    wanted = f"error: --tensorboard needs the extra `tensorboard`; install it with {install}\n"
    assert capsys.readouterr().err == wanted
    assert not (tmp_path / "s").exists()
