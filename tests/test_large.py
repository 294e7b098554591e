"""Image files end to end: from lists to results, with any number of workers and processes, pretrained or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpm import cli
from lpm.cli import run as run_command
from lpm.errors import InvalidInput
from tests.large import make
from training import build, datasets, train, trainer
from training.config import LARGE, LARGE_RECIPES, RunConfig, presets, with_preset
from training.epoch import batch_sizes, draw
from training.experiments import config as cell
from training.ranks import Ranks
from training.resnets import Bottlenecks
from training.runs import RunFolder, find
from training.table import main as table
from training.trainer import COUNTED

CPU = torch.device("cpu")
SMOKE = replace(with_preset(RunConfig(dataset="places-lt"), "smoke"), epochs=2, width=4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    make("places-lt", folder)
    return folder


@pytest.fixture
def places(root: Path) -> datasets.LongTailed:
    return datasets.load("places-lt", root, imbalance=100)


def test_a_run_on_image_files_ends_with_a_result(root: Path, tmp_path: Path, capsys: Any) -> None:
    words = [
        "--dataset",
        "places-lt",
        "--data-root",
        str(root),
        "--preset",
        "smoke",
        "--width",
        "4",
        "--sampler",
        "bmls",
    ]
    words += ["--classifier", "ms-unordered", "--store", str(tmp_path), "--workers", "1", "--jitter", "0.4"]
    assert run_command(lambda: train.main([*words, "--json"])) == 0
    (metrics,) = json.loads(capsys.readouterr().out)
    (folder,) = find(tmp_path)
    assert folder.path.parent.name.startswith("places-lt-own-bmls-ms-unordered-ce-smoke+-")
    assert metrics["dataset"] == "places-lt"
    assert metrics["train_counts"] == sorted(metrics["train_counts"], reverse=True)
    final = folder.final()
    assert final["pair_counts"].sum() == 2 * sum(metrics["train_counts"])
    assert (np.tril(final["pair_counts"]) == 0).all()
    assert "test_features" not in final  # there may be fifty thousand
    assert folder.geometries() == [2]
    assert folder.geometry(2)["class_means"].shape == (365, 16)


def test_workers_do_not_matter_and_an_interrupted_run_ends_the_same(
    places: datasets.LongTailed, tmp_path: Path
) -> None:
    config = replace(SMOKE, jitter=0.4, sampler="cas")
    whole = RunFolder(tmp_path / "whole", config)
    trainer.run(config, places, whole, CPU)
    folder = RunFolder(tmp_path / "stopped", config)

    def stop(row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run(config, places, folder, CPU, on_epoch=stop, workers=2)
    trainer.run(config, places, folder, CPU, workers=1)
    assert (folder.path / "final.safetensors").read_bytes() == (whole.path / "final.safetensors").read_bytes()


def test_what_a_step_sees_is_mixed_augmented_and_normalised(places: datasets.LongTailed) -> None:
    """Without augmentation a batch is the central crops, mixed; with it, flips and factors are the drawn ones."""
    from training.images import test_view as central

    learner = trainer.Trainer(replace(SMOKE, augment=False), places, CPU)
    learner.source.begin(1, learner.drawn, [own for own, _ in learner.sizes])
    learner.source.advance()
    rows = torch.arange(learner.sizes[0][0])
    for side in (0, 1):
        seen = learner.source.side(learner.drawn, rows, side)
        for row in (0, 5):
            i = int(learner.drawn.pairs[row, side])
            image = torch.from_numpy(central(places.train.paths[i], 32, root=places.train.root))  # type: ignore[union-attr]
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (places.mean, places.std))
            assert torch.allclose(seen[row], (image.float() / 255 - mean) / std, atol=1e-5)


def test_factors_are_uniform_and_flips_fair(places: datasets.LongTailed) -> None:
    epoch = draw(replace(SMOKE, jitter=0.4), build.sampler(SMOKE, places.train.labels), 1)
    assert epoch.factors.shape == (2, 3, len(places.train.labels))
    assert epoch.factors.min() >= 0.6
    assert epoch.factors.max() <= 1.4
    assert abs(float(epoch.factors.mean()) - 1) < 0.02
    assert abs(float(epoch.factors.std()) - 0.8 / 12**0.5) < 0.01
    assert 0.45 < epoch.flips.float().mean() < 0.55
    assert draw(SMOKE, build.sampler(SMOKE, places.train.labels), 1).factors.shape[-1] == 0


def test_processes_share_an_epoch_of_image_files(places: datasets.LongTailed) -> None:
    config = replace(SMOKE, jitter=0.4, sampler="bmls")
    sampler = build.sampler(config, places.train.labels)
    whole, sizes = draw(config, sampler, 3), batch_sizes(len(places.train.labels), config.batch)
    for world in (2, 3):
        shares = [draw(config, sampler, 3, Ranks(r, world)) for r in range(world)]
        order = torch.cat([s.number for s in shares]).argsort()
        assert torch.equal(torch.cat([s.pairs for s in shares])[order], whole.pairs)
        assert torch.equal(torch.cat([s.factors for s in shares], dim=-1)[..., order], whole.factors)
        assert sum(len(s.number) for s in shares) == sum(sizes)


def test_two_processes_have_the_losses_of_one_on_image_files(root: Path, tmp_path: Path) -> None:
    words = ["-m", "training.train", "--dataset", "places-lt", "--data-root", str(root), "--preset", "smoke"]
    words += ["--width", "4", "--epochs", "1", "--precision", "fp32", "--lr", "0.01", "--workers", "1", "--quiet"]
    rows = []
    for start in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        store = tmp_path / str(len(start))
        command = [sys.executable, *start, *words, "--device", "cpu", "--store", str(store)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-1500:]
        (folder,) = find(store)
        rows.append(folder.rows()[0] | {"means": folder.geometry(1)["class_means"]})
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=1e-4)
    assert np.allclose(rows[1]["means"], rows[0]["means"], rtol=0.02, atol=0.02)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    make("places-lt", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_broken_image_is_one_line_that_names_it(broken: Path, workers: str, tmp_path: Path, capsys: Any) -> None:
    (broken / "train" / "0007" / "1.jpg").write_bytes(b"\xff\xd8 no image")
    words = ["--dataset", "places-lt", "--data-root", str(broken), "--preset", "smoke", "--width", "4", "--quiet"]
    assert run_command(lambda: train.main([*words, "--workers", workers, "--store", str(tmp_path / "s")])) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "train/0007/1.jpg" in error


def test_a_missing_image_stops_before_anything_is_written(broken: Path, tmp_path: Path, capsys: Any) -> None:
    (broken / "train" / "0007" / "1.jpg").unlink()
    words = ["--dataset", "places-lt", "--data-root", str(broken), "--preset", "smoke", "--store", str(tmp_path / "s")]
    assert run_command(lambda: train.main(words)) == 2
    assert "train/0007/1.jpg" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("trains", ["all", "stage4", "block", "classifier"])
def test_a_pretrained_network_starts_from_its_file_and_trains_what_it_should(
    trains: Any, places: datasets.LongTailed, tmp_path: Path
) -> None:
    config = replace(SMOKE, model="resnet50", width=4, epochs=1, pretrained=True, trains=trains, lr=1e-3)
    torch.manual_seed(5)
    source = Bottlenecks("resnet50", width=4)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    learner = trainer.Trainer(config, places, CPU, weights=tmp_path / "weights.pth")
    own = learner.network.backbone.state_dict()
    assert all(torch.equal(own[k], v) for k, v in source.state_dict().items() if k in own)
    before = {k: v.clone() for k, v in own.items()}
    learner.train_epoch()
    changed = {
        k.split(".")[0] for k, v in learner.network.backbone.state_dict().items() if not torch.equal(v, before[k])
    }
    every = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert changed == {"all": every, "stage4": {"layer4"}, "block": {"block"}, "classifier": set()}[trains]


def test_a_run_is_a_run_on_its_weights(places: datasets.LongTailed, tmp_path: Path) -> None:
    config = replace(SMOKE, model="resnet50", epochs=1, pretrained=True, trains="classifier")
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(Bottlenecks("resnet50", width=4).state_dict(), tmp_path / f"{seed}.pth")
    folder = RunFolder(tmp_path / "s", config)
    trainer.run(config, places, folder, CPU, weights=tmp_path / "1.pth")
    (folder.path / "metrics.json").unlink()
    with pytest.raises(InvalidInput, match="on other data or weights"):
        trainer.run(config, places, folder, CPU, weights=tmp_path / "2.pth")


def options_of(*words: str) -> Any:
    """What the train command reads."""
    parser = cli.Parser("training.train", "")
    train.add_recipe(parser)
    parser.add_argument("--preset")
    return parser.parse_args(list(words))


def test_recipes_of_the_large_sets() -> None:
    """The numbers of MiSLAS's first stage."""
    for dataset, epochs, decay in (("imagenet-lt", 180, 5e-4), ("places-lt", 90, 5e-4), ("inaturalist2018", 200, 1e-4)):
        config = with_preset(RunConfig(dataset=dataset), "paper")  # type: ignore[arg-type]
        assert (config.epochs, config.weight_decay, config.batch, config.alpha) == (epochs, decay, 256, 0.2)
        assert (config.model, config.channels, config.pixels, config.jitter) == ("resnet50", 64, 224, 0.4)
        assert config.lr_at(1) == 0.1
        assert config.lr_at(epochs // 2 + 1) == pytest.approx(0.05)
        assert 0 < config.lr_at(epochs) < 1e-4
    assert set(LARGE_RECIPES) == LARGE
    assert "yang" in presets("imagenet-lt")
    bbn = with_preset(RunConfig(dataset="inaturalist2018"), "bbn")
    assert [bbn.lr_at(epoch) for epoch in (1, 120, 121, 160, 161)] == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005])
    assert (bbn.epochs, bbn.batch, bbn.weight_decay) == (180, 128, 1e-4)
    assert "yang" not in presets("places-lt")
    tuned = cell("BMLS+MS", "places-lt-ft", 0, "paper")
    assert (tuned.model, tuned.trains, tuned.pretrained, tuned.epochs) == ("resnet152", "block", True, 90)
    assert (
        train.config_of(options_of("--dataset", "places-lt-ft")).folder
        == cell("random+FC", "places-lt-ft", 0, "paper").folder
    )
    assert Bottlenecks("resnet50-wide4", width=4).p == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imbalance": 10.0}, "imbalance has a meaning for CIFAR and the digits only"),
        ({"subset_seed": 1}, "subset-seed has a meaning for CIFAR"),
        ({"trains": "block"}, "trains 'block' has a meaning for pretrained networks"),
        ({"pretrained": True}, "pretrained has a meaning for models 'resnet50'"),
        ({"size": 4}, "size = 4 must lie in 8..1024"),
        ({"jitter": 1.5}, "jitter = 1.5 must lie in"),
        ({"augment": False, "jitter": 0.4}, "jitter has a meaning for augmented image files"),
        ({"dataset": "cifar10-lt"}, "size has a meaning for image files"),
        ({"dataset": "cifar10-lt", "size": 0, "model": "resnet50"}, "model resnet50 has a meaning for image files"),
    ],
)
def test_impossible_choices_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(SMOKE, **change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "digits-lt", "--train-list", "x"], "--train-list and --test-list are for imagenet-lt"),
        (["--dataset", "places-lt"], "needs --data-root"),
        (["--dataset", "places-lt", "--preset", "yang"], "preset 'yang' is unknown for places-lt"),
        (["--dataset", "places-lt", "--workers", "-1"], "--workers"),
        (["--model", "resnet50", "--pretrained", "--data-root", "ROOT"], "needs --weights"),
        (["--dataset", "places-lt", "--weights", "w.pth"], "--weights has a meaning for pretrained networks only"),
        (["--dataset", "places-lt-ft", "--data-root", "ROOT", "--weights", "FIFO"], "is not a regular file"),
    ],
)
def test_bad_use_is_one_line(options: list[str], message: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(tmp_path / "w.pth")
    words = [{"ROOT": str(root), "FIFO": str(tmp_path / "w.pth")}.get(word, word) for word in options]
    if "--pretrained" in words:
        words += ["--dataset", "places-lt"]
    try:
        status = run_command(lambda: train.main([*words, "--store", str(tmp_path / "s")]))
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_tables_of_the_large_sets_fill_from_the_store(root: Path, tmp_path: Path, capsys: Any) -> None:
    store, words = tmp_path / "s", ["--preset", "smoke", "--seeds", "0", "--store", str(tmp_path / "s")]
    data = ["--data-root", str(root), "--workers", "0"]
    only = ["--dataset", "places-lt", "--method", "BMLS+FC"]
    assert run_command(lambda: table(["9", *words, *data, *only, "--quiet", "--format", "csv"])) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 5  # a head, and many, med, few, all
    assert all(line.startswith("BMLS+FC,places-lt,own,") and line.split(",")[5] == "1" for line in out[1:])
    assert len(list(find(store))) == 1
    for number, cells in (("3", 20), ("9", 40), ("10", 40)):
        assert run_command(lambda n=number: table([n, *words, "--dry-run", "--format", "csv"])) == 0
        assert len(capsys.readouterr().out.splitlines()) == cells + 1
    assert run_command(lambda: table(["3", "--dry-run", "--dataset", "places-lt-ft", "--method", "CAS+FC"])) == 0
    said = capsys.readouterr()
    assert "37.44" in said.out
    assert "--dataset places-lt-ft --method CAS+FC --seeds 0-2" in said.err


def test_nothing_left_to_train_is_one_line(places: datasets.LongTailed) -> None:
    config = replace(
        SMOKE, model="resnet50", pretrained=True, trains="classifier", classifier="etf", features="unit", width=16
    )
    with pytest.raises(InvalidInput, match="leaves nothing to train"):
        trainer.Trainer(config, places, CPU)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def killed(command: list[str], store: Path, victim: Callable[[int], int]) -> None:
    """Start a command, and kill one of its processes when it has a checkpoint."""
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 120
    try:
        while not any(folder.last_checkpoint() for folder in find(store)):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(victim(process.pid), signal.SIGKILL)
        assert process.wait(timeout=60) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_killed_with_its_workers_a_run_goes_on_at_once(root: Path, tmp_path: Path) -> None:
    """Workers live on for seconds after their run was killed, and must not hold its lock."""
    words = ["--dataset", "places-lt", "--data-root", str(root), "--preset", "smoke", "--width", "4", "--epochs", "6"]
    command = [
        sys.executable,
        "-m",
        "training.train",
        *words,
        "--workers",
        "2",
        "--quiet",
        "--device",
        "cpu",
        "--store",
    ]
    subprocess.run([*command, str(tmp_path / "whole")], env=environment(), check=True, timeout=300)
    killed([*command, str(tmp_path / "s")], tmp_path / "s", lambda pid: pid)
    subprocess.run([*command, str(tmp_path / "s")], env=environment(), check=True, timeout=300)
    (whole,), (folder,) = find(tmp_path / "whole"), find(tmp_path / "s")
    assert (folder.path / "final.safetensors").read_bytes() == (whole.path / "final.safetensors").read_bytes()


def test_two_processes_train_a_block_on_image_files_and_one_is_killed(root: Path, tmp_path: Path) -> None:
    torch.save(Bottlenecks("resnet50", width=4).state_dict(), tmp_path / "w.pth")
    words = [
        "--dataset",
        "places-lt",
        "--data-root",
        str(root),
        "--preset",
        "smoke",
        "--model",
        "resnet50",
        "--width",
        "4",
    ]
    words += [
        "--pretrained",
        "--trains",
        "block",
        "--weights",
        str(tmp_path / "w.pth"),
        "--epochs",
        "4",
        "--workers",
        "1",
    ]
    words += ["--precision", "fp32", "--lr", "0.01", "--sampler", "bmls", "--quiet", "--device", "cpu", "--store"]
    several = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "training.train",
    ]
    subprocess.run(
        [sys.executable, "-m", "training.train", *words, str(tmp_path / "one")],
        env=environment(),
        check=True,
        timeout=300,
    )
    killed([*several, *words, str(tmp_path / "s")], tmp_path / "s", last_rank)
    subprocess.run([*several, *words, str(tmp_path / "s")], env=environment(), check=True, timeout=300)
    (one,), (folder,) = find(tmp_path / "one"), find(tmp_path / "s")
    assert [row["loss"] for row in folder.rows()] == pytest.approx([row["loss"] for row in one.rows()], rel=1e-3)
    assert np.array_equal(folder.final()["pair_counts"], one.final()["pair_counts"])


def last_rank(parent: int) -> int:
    """The process of rank 1 that torchrun has started."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes():
            return int(pid)
    raise AssertionError("there is no rank 1")


@pytest.mark.heavy
def test_iNaturalist_of_all_its_classes_trains_without_a_square_of_them(tmp_path: Path) -> None:
    make("inaturalist2018", tmp_path / "data", as_json=True)
    data = datasets.load("inaturalist2018", tmp_path / "data", imbalance=100)
    config = replace(SMOKE, dataset="inaturalist2018", sampler="bmls", classifier="ms-unordered", epochs=1, batch=256)
    folder = RunFolder(tmp_path / "s", config)
    metrics = trainer.run(config, data, folder, CPU, workers=1)
    assert config.K > COUNTED
    assert len(metrics["per_class"]) == 8142
    assert folder.final()["label_counts"].shape == (2, 8142)
    assert folder.final()["label_counts"].sum(axis=1).tolist() == [len(data.train.labels)] * 2
