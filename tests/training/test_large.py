"""Image files end to end: from lists to results, with any number of workers and processes, pretrained or not."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.started import Command, Forked, checkpointed, together, torchrun
from tests.training.large import make
from training import train
from training.batches.blending import blended
from training.batches.epoch import batch_sizes, draw
from training.config import RunConfig, with_preset
from training.data import datasets, images, untrusted
from training.data.datasets import Listed
from training.distributed.ranks import Ranks
from training.model import build
from training.model.imagenet_resnets import Bottlenecks
from training.run import loop, trainer
from training.run.steps import COUNTED
from training.store.runs import RunFolder, find

CPU = torch.device("cpu")
SMOKE = replace(with_preset(RunConfig(dataset="places-lt"), "smoke"), epochs=2, width=4)


@pytest.fixture
def places(places_root: Path) -> datasets.LongTailed:
    return datasets.load("places-lt", places_root, imbalance=100)


def words_of(root: Path) -> list[str]:
    """The words that train a small network on Places-LT."""
    words = ["training.train", "--quiet", "--device", "cpu", "--dataset", "places-lt", "--data-root", str(root)]
    return [*words, "--preset", "smoke", "--width", "4"]


def test_a_run_on_image_files_ends_with_a_result(places_root: Path, tmp_path: Path, capsys: Any) -> None:
    options = ["--sampler", "bmls", "--classifier", "ms-unordered", "--workers", "1", "--jitter", "0.4"]
    words = [*words_of(places_root)[1:], *options, "--store", str(tmp_path)]
    assert run_command(lambda: train.main([*words, "--json"])) == 0
    (result,) = json.loads(capsys.readouterr().out)
    (folder,) = find(tmp_path)
    assert folder.path.parent.name.startswith("places-lt-own-bmls-ms-unordered-ce-smoke+-")
    assert result["dataset"] == "places-lt"
    assert result["train_counts"] == sorted(result["train_counts"], reverse=True)
    final = folder.final()
    assert final["pair_counts"].sum() == 2 * sum(result["train_counts"])
    assert (np.tril(final["pair_counts"]) == 0).all()
    assert "test_features" not in final  # there may be fifty thousand
    assert folder.geometries() == [2]
    assert folder.geometry(2)["class_means"].shape == (365, 16)


def test_workers_do_not_matter_and_an_interrupted_run_ends_the_same(
    places: datasets.LongTailed, tmp_path: Path
) -> None:
    config = replace(SMOKE, jitter=0.4, sampler="cas")
    whole = RunFolder(tmp_path / "whole", config)
    loop.run(config, places, whole, CPU)
    folder = RunFolder(tmp_path / "stopped", config)

    def stop(row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(config, places, folder, CPU, on_epoch=stop, workers=2)
    loop.run(config, places, folder, CPU, workers=1)
    assert (folder.path / "final.safetensors").read_bytes() == (whole.path / "final.safetensors").read_bytes()


def test_what_a_step_sees_is_mixed_augmented_and_normalised(places: datasets.LongTailed) -> None:
    """Without augmentation a batch is the central crops, mixed; with it, flips and factors are the drawn ones."""
    from training.data.images import central_view as central

    learner = trainer.Trainer(replace(SMOKE, augment=False), places, CPU)
    learner.source.begin(1, learner.steps.drawn, [local for local, _ in learner.steps.sizes])
    learner.source.advance()
    rows = torch.arange(learner.steps.sizes[0][0])
    for side in (0, 1):
        seen = learner.source.side(learner.steps.drawn, rows, side)
        for row in (0, 5):
            i = int(learner.steps.drawn.pairs[row, side])
            image = torch.from_numpy(central(places.train.paths[i], 32, root=places.train.root))  # type: ignore[union-attr]
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (places.mean, places.std))
            assert torch.allclose(seen[row], (image.float() / 255 - mean) / std, atol=1e-5)


def test_partners_from_the_batch_are_decoded_once_and_cropped_anew(
    places: datasets.LongTailed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each side is the crop of its (seed, epoch, position, side); a file of the batch is read once, on whichever side it is."""
    read: list[str] = []

    def contents(path: str, limit: int, *, name: str) -> bytes:
        read.append(name)
        return untrusted.contents(path, limit, name=name)

    monkeypatch.setattr(images, "contents", contents)
    learner = trainer.Trainer(replace(SMOKE, sampler="random", seed=3), places, CPU)
    rows = torch.arange(learner.steps.sizes[0][0])
    learner.source.begin(1, learner.steps.drawn, [local for local, _ in learner.steps.sizes])
    learner.source.advance()
    assert isinstance(places.train, Listed)
    shown = learner.steps.drawn.pairs[rows]
    assert len(set(shown[:, 0].tolist())) == len(rows)
    assert sorted(read) == sorted(places.train.paths[i] for i in shown[:, 0].tolist())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (places.mean, places.std))
    for side in (0, 1):
        seen = learner.source.side(learner.steps.drawn, rows, side)
        for row in range(8):
            rng = np.random.default_rng([3, 9, 1, row, side])
            path = places.train.paths[int(shown[row, side])]
            view = torch.from_numpy(images.train_view(path, 32, rng, root=places.train.root))
            look = view.flip(2) if learner.steps.drawn.flips[side][row] else view
            assert torch.allclose(seen[row], (look.float() / 255 - mean) / std, atol=1e-5)


def test_workers_end_with_their_run_without_a_garbage_collection(places: datasets.LongTailed, tmp_path: Path) -> None:
    gc.disable()
    try:
        for seed in (0, 1):
            config = replace(SMOKE, epochs=1, seed=seed)
            loop.run(config, places, RunFolder(tmp_path, config), CPU, workers=1)
            assert multiprocessing.active_children() == []
    finally:
        gc.enable()


@pytest.mark.parametrize("workers", [0, 1])
def test_images_as_they_are_in_chunks_pairs_or_none(workers: int, places: datasets.LongTailed) -> None:
    from training.data.images import central_view as central

    source = trainer.Trainer(SMOKE, places, CPU, workers=workers).source
    assert [x.shape for x in source.test(torch.arange(0))] == [(0, 3, 32, 32)]
    which = torch.tensor([[7, 3], [5, 900], [3, 7]])
    for part, asked in ((places.train, source.train), (places.test, source.test)):
        some = which % len(part.labels)
        pairs, firsts = torch.cat(list(asked(some))), torch.cat(list(asked(some[:, 0])))
        assert pairs.shape == (3, 2, 3, 32, 32)
        assert torch.equal(pairs[:, 0], firsts)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (places.mean, places.std))
        for seen, i in zip(pairs.flatten(0, 1), some.flatten().tolist(), strict=True):
            image = torch.from_numpy(central(part.paths[i], 32, root=part.root))  # type: ignore[union-attr]
            assert torch.allclose(seen, (image.float() / 255 - mean) / std, atol=1e-5)


def test_boxes_are_cut_from_the_views_of_files(places: datasets.LongTailed) -> None:
    """The label weighs what the first view keeps, of the pixels that the network is shown."""
    config = replace(SMOKE, mixing="cutmix", box_probability=1.0, alpha=1.0, size=24)
    learner = trainer.Trainer(config, places, CPU)
    sizes = batch_sizes(len(places.train.labels), config)
    drawn = draw(config, learner.assembly.sampler, 1)
    learner.source.begin(1, drawn, sizes)
    boxed = next(n for n, start in enumerate(np.cumsum(sizes) - sizes) if drawn.weights[start] < 1)
    for _ in range(boxed + 1):
        learner.source.advance()
    rows = sum(sizes[:boxed]) + torch.arange(sizes[boxed])
    first, second = (learner.source.side(drawn, rows, side) for side in (0, 1))
    mixed = blended(first, second, drawn.ratios[rows], drawn.boxes[:, rows])
    assert mixed.shape == (sizes[boxed], 3, 24, 24)
    kept = (mixed == first).all(dim=1).double().mean(dim=(1, 2))
    expected = drawn.weights[rows].double()
    assert float(kept.min()) == pytest.approx(
        float(expected[0]), abs=1e-6
    )  # more where a pixel is the same in both views
    assert 0 < float(expected[0]) < 1
    assert torch.isfinite(torch.tensor(learner.train_epoch()["loss"]))


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
    whole, sizes = draw(config, sampler, 3), batch_sizes(len(places.train.labels), config)
    for world in (2, 3):
        shares = [draw(config, sampler, 3, Ranks(r, world)) for r in range(world)]
        order = torch.cat([s.number for s in shares]).argsort()
        assert torch.equal(torch.cat([s.pairs for s in shares])[order], whole.pairs)
        assert torch.equal(torch.cat([s.factors for s in shares], dim=-1)[..., order], whole.factors)
        assert sum(len(s.number) for s in shares) == sum(sizes)


@pytest.fixture
def block(tmp_path: Path) -> list[str]:
    """Options that train the last block of a pretrained network."""
    torch.manual_seed(1)  # with some weights, at a higher rate, rounding grows a thousandfold within four epochs
    torch.save(Bottlenecks("resnet50", width=4).state_dict(), tmp_path / "w.pth")
    return ["--model", "resnet50", "--pretrained", "--weights", str(tmp_path / "w.pth"), "--trains", "block",
            "--precision", "fp32", "--lr", "0.001", "--sampler", "bmls"]  # fmt: skip


@pytest.mark.parametrize("pretrained", [False, True])
def test_two_processes_have_the_losses_of_one_on_image_files(
    pretrained: bool, block: list[str], places_root: Path, tmp_path: Path
) -> None:
    rows = []
    for processes in (1, 2):
        store = tmp_path / str(processes)
        recipe = [*block, "--workers", "0"] if pretrained else ["--precision", "fp32", "--lr", "0.01", "--workers", "1"]
        options = [*recipe, "--epochs", "1", "--store", str(store)]
        assert [end.status for end in together(processes, *words_of(places_root), *options)] == [0] * processes
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
    options = ["--no-check", "--workers", workers, "--store", str(tmp_path / "s")]
    assert run_command(lambda: train.main([*words_of(broken)[1:], *options])) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: it is not known whether all images decode")
    assert "train/0007/1.jpg" in error


def test_a_missing_image_stops_before_anything_is_written(broken: Path, tmp_path: Path, capsys: Any) -> None:
    (broken / "train" / "0007" / "1.jpg").unlink()
    assert run_command(lambda: train.main([*words_of(broken)[1:], "--store", str(tmp_path / "s")])) == 2
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
    weights = learner.network.backbone.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in source.state_dict().items() if k in weights)
    before = {k: v.clone() for k, v in weights.items()}
    learner.train_epoch()
    changed = {
        k.split(".")[0] for k, v in learner.network.backbone.state_dict().items() if not torch.equal(v, before[k])
    }
    groups = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert changed == {"all": groups, "stage4": {"layer4"}, "block": {"block"}, "classifier": set()}[trains]


def test_a_run_is_a_run_on_its_weights(places: datasets.LongTailed, tmp_path: Path) -> None:
    config = replace(SMOKE, model="resnet50", epochs=1, pretrained=True, trains="classifier")
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(Bottlenecks("resnet50", width=4).state_dict(), tmp_path / f"{seed}.pth")
    folder = RunFolder(tmp_path / "s", config)
    loop.run(config, places, folder, CPU, weights=tmp_path / "1.pth")
    (folder.path / "metrics.json").unlink()
    with pytest.raises(InvalidInput, match="on other data or weights"):
        loop.run(config, places, folder, CPU, weights=tmp_path / "2.pth")


def test_nothing_left_to_train_is_one_line(places: datasets.LongTailed) -> None:
    config = replace(
        SMOKE, model="resnet50", pretrained=True, trains="classifier", classifier="etf", features="unit", width=16
    )
    with pytest.raises(InvalidInput, match="leaves nothing to train"):
        trainer.Trainer(config, places, CPU)


def test_killed_with_its_workers_a_run_goes_on_at_once(places_root: Path, tmp_path: Path) -> None:
    """Workers live on for seconds after their run was killed, and must not hold its lock."""
    words = [*words_of(places_root), "--epochs", "4", "--workers", "2", "--store"]
    assert Forked(*words, str(tmp_path / "whole")).ends().status == 0
    stopped = Command(*words, str(tmp_path / "s"))
    folder = checkpointed(tmp_path / "s", stopped)
    stopped.process.kill()
    assert Forked(*words, str(tmp_path / "s")).ends().status == 0
    assert stopped.ends().status == -signal.SIGKILL
    (whole,) = find(tmp_path / "whole")
    assert (folder.path / "final.safetensors").read_bytes() == (whole.path / "final.safetensors").read_bytes()


@pytest.mark.heavy
def test_two_processes_train_a_block_on_image_files_and_one_is_killed(
    block: list[str], places_root: Path, tmp_path: Path
) -> None:
    words = [*words_of(places_root), *block, "--epochs", "4", "--workers", "1", "--store"]
    assert Forked(*words, str(tmp_path / "one")).ends().status == 0
    stopped = Command(*torchrun(2), *words, str(tmp_path / "s"))
    second = stopped.rank(1)
    folder = checkpointed(tmp_path / "s", stopped)
    os.kill(second, signal.SIGKILL)
    assert stopped.ends().status != 0
    assert [end.status for end in together(2, *words, str(tmp_path / "s"))] == [0, 0]
    (one,) = find(tmp_path / "one")
    assert [row["loss"] for row in folder.rows()] == pytest.approx([row["loss"] for row in one.rows()], rel=1e-3)
    assert np.array_equal(folder.final()["pair_counts"], one.final()["pair_counts"])


@pytest.mark.heavy
def test_iNaturalist_of_all_its_classes_trains_without_a_square_of_them(tmp_path: Path) -> None:
    make("inaturalist2018", tmp_path / "data", as_json=True)
    data = datasets.load("inaturalist2018", tmp_path / "data", imbalance=100)
    config = replace(SMOKE, dataset="inaturalist2018", sampler="bmls", classifier="ms-unordered", epochs=1, batch=256)
    folder = RunFolder(tmp_path / "s", config)
    result = loop.run(config, data, folder, CPU, workers=1)
    assert config.K > COUNTED
    assert len(result.per_class) == 8142
    assert folder.final()["label_counts"].shape == (2, 8142)
    assert folder.final()["label_counts"].sum(axis=1).tolist() == [len(data.train.labels)] * 2
