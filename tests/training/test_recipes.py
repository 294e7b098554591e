"""The large data sets' recipes, what cannot be asked of them, and their tables."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lpm.console import cli
from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from paper_checks import runs
from training import options, train
from training.config import RunConfig, presets, with_preset
from training.experiments import config as cell
from training.jobs import estimate
from training.model.imagenet_resnets import Bottlenecks
from training.store.runs import find
from training.table import main as table

CELL = [*("--dry-run", "--commands", "--format", "markdown"), *("--dataset", "places-lt-ft", "--method", "CAS+FC")]


def options_of(*words: str) -> Any:
    """What the train command reads."""
    parser = cli.Parser("training.train", "")
    options.add_recipe(parser)
    return parser.parse_args(list(words))


def test_recipes_of_the_large_sets() -> None:
    """The numbers of MiSLAS's first stage."""
    for dataset, epochs, decay in (("imagenet-lt", 180, 5e-4), ("places-lt", 90, 5e-4), ("inaturalist2018", 200, 1e-4)):
        config = with_preset(RunConfig(dataset=dataset), "paper")
        assert (config.epochs, config.weight_decay, config.batch, config.alpha) == (epochs, decay, 256, 0.2)
        assert (config.model, config.channels, config.pixels, config.jitter) == ("resnet50", 64, 224, 0.4)
        assert config.lr_at(1) == 0.1
        assert config.lr_at(epochs // 2 + 1) == pytest.approx(0.05)
        assert 0 < config.lr_at(epochs) < 1e-4
    assert "yang" in presets("imagenet-lt")
    bbn = with_preset(RunConfig(dataset="inaturalist2018"), "bbn")
    assert [bbn.lr_at(epoch) for epoch in (1, 120, 121, 160, 161)] == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005])
    assert (bbn.epochs, bbn.batch, bbn.weight_decay) == (180, 128, 1e-4)
    assert "yang" not in presets("places-lt")
    tuned = cell("BMLS+MS", "places-lt-ft", 0, "paper")
    assert (tuned.model, tuned.trains, tuned.pretrained, tuned.epochs) == ("resnet152", "block", True, 90)
    assert (
        options.config_of(options_of("--dataset", "places-lt-ft")).folder
        == cell("random+FC", "places-lt-ft", 0, "paper").folder
    )
    assert Bottlenecks("resnet50-wide4", width=4).p == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imbalance": 10.0}, "imbalance applies only to CIFAR and the digits"),
        ({"subset_seed": 1}, "subset-seed applies only to CIFAR"),
        ({"trains": "block"}, "trains 'block' applies only to pretrained networks"),
        ({"pretrained": True}, "pretrained applies only to models 'resnet18'"),
        ({"size": 4}, "size = 4 must lie in 8..1024"),
        ({"jitter": 1.5}, "jitter = 1.5 must lie in"),
        ({"augment": False, "jitter": 0.4}, "jitter applies only to augmented image files"),
        ({"dataset": "cifar10-lt"}, "size applies only to image files"),
        ({"dataset": "cifar10-lt", "size": 0, "model": "resnet50"}, "model 'resnet50' applies only to image files"),
    ],
)
def test_impossible_choices_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(with_preset(RunConfig(dataset="places-lt"), "smoke"), **change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "digits-lt", "--train-list", "x"], "--train-list and --test-list are for imagenet-lt"),
        (["--dataset", "places-lt"], "needs --data-root"),
        (["--dataset", "places-lt", "--preset", "yang"], "preset 'yang' is unknown for places-lt"),
        (["--dataset", "places-lt", "--workers", "-1"], "--workers"),
        (["--model", "resnet50", "--pretrained", "--data-root", "ROOT"], "needs --weights"),
        (["--dataset", "places-lt", "--weights", "w.pth"], "--weights applies only to pretrained networks"),
        (["--dataset", "places-lt-ft", "--data-root", "ROOT", "--weights", "FIFO"], "is not a regular file"),
    ],
)
def test_bad_use_is_one_line(options: list[str], message: str, places_root: Path, tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(tmp_path / "w.pth")
    words = [{"ROOT": str(places_root), "FIFO": str(tmp_path / "w.pth")}.get(word, word) for word in options]
    if "--pretrained" in words:
        words += ["--dataset", "places-lt"]
    try:
        status = run_command(lambda: train.main([*words, "--store", str(tmp_path / "s")]))
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_tables_of_the_large_sets_fill_from_the_store(places_root: Path, tmp_path: Path, capsys: Any) -> None:
    store, words = tmp_path / "s", ["--preset", "smoke", "--seeds", "0", "--store", str(tmp_path / "s")]
    data = ["--data-root", str(places_root), "--workers", "0"]
    only = ["--dataset", "places-lt", "--method", "BMLS+FC"]
    rows = ["--export", str(tmp_path / "runs.csv")]
    assert run_command(lambda: table(["9", *words, *data, *only, *rows, "--quiet", "--format", "csv"])) == 0
    assert {(run.dataset, run.imbalance) for run in runs.read(tmp_path / "runs.csv")} == {("places-lt", "")}
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 5  # a head, and many, med, few, all
    assert all(line.startswith("BMLS+FC,places-lt,own,") and line.split(",")[5] == "1" for line in out[1:])
    assert len(list(find(store))) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "measured", lambda config, device: 1.0)  # steps of large networks take seconds
        for number, cells in (("3", 20), ("9", 40), ("10", 40)):
            assert run_command(lambda n=number: table([n, *words, "--dry-run", "--format", "csv"])) == 0
            assert len(capsys.readouterr().out.splitlines()) == cells + 1
    assert run_command(lambda: table(["3", *CELL])) == 0
    printed = capsys.readouterr()
    assert "37.44" in printed.out
    assert "they take about " in printed.err
    assert "--dataset places-lt-ft --weights FILE --method CAS+FC --seeds 0-2" in printed.err
