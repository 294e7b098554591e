"""Stronger augmentation: its operations against other formulas, drawn from the generator alone."""

from __future__ import annotations

import pickle
import sys
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from lpm.console import cli
from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.pages import code
from tests.training.own import pets, trained
from training import posthoc, stage2, train
from training.batches import sources
from training.batches.epoch import Epoch
from training.config import RunConfig, with_preset
from training.data import datasets, own_code, policies
from training.data.policies import OPERATIONS, RANDAUGMENT, TRIVIAL, applied
from training.options import add_recipe, config_of
from training.run.trainer import Trainer
from training.second_stage import second_stage
from training.store.runs import find

INVERTED, UPSIDE_DOWN = (f"tests.training.own_network:{name}" for name in ("inverted", "upside_down"))
PIXELS = np.random.default_rng(0).integers(256, size=(21, 21, 3)).astype(np.uint8)
IMAGE = Image.fromarray(PIXELS)


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(own_code.VARIABLE, "")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("strengths", [RANDAUGMENT, TRIVIAL])
def test_magnitude_0_changes_nothing_and_1_does(operation: str, strengths: policies.Strengths) -> None:
    alike = np.asarray(applied(IMAGE, operation, strengths, 0.0, 1))
    if operation not in ("autocontrast", "equalize"):  # which have no magnitude
        assert np.array_equal(alike, PIXELS)
    if operation != "identity":
        faint = Image.fromarray(PIXELS // 2 + 20)  # which autocontrast and equalize spread
        assert not np.array_equal(np.asarray(applied(faint, operation, strengths, 1.0, 1)), np.asarray(faint))


def test_operations_are_those_of_their_formulas() -> None:
    moved = np.asarray(applied(IMAGE, "translate-x", TRIVIAL, 5 / 32, 1))
    assert np.array_equal(moved[:, 5:], PIXELS[:, :-5])
    assert not moved[:, :5].any()
    moved = np.asarray(applied(IMAGE, "translate-y", replace(RANDAUGMENT, translate=4 / 21), 1.0, -1))
    assert np.array_equal(moved[:-4], PIXELS[4:])
    solarized = np.asarray(applied(IMAGE, "solarize", TRIVIAL, 0.5, 1))
    assert np.array_equal(solarized, np.where(PIXELS < 128, PIXELS, 255 - PIXELS))
    assert np.array_equal(np.asarray(applied(IMAGE, "posterize", RANDAUGMENT, 1.0, 1)), PIXELS & 0xF0)
    turned = np.asarray(applied(IMAGE, "rotate", replace(TRIVIAL, rotate=90), 1.0, 1))
    assert np.array_equal(turned, np.rot90(PIXELS))
    bright = np.asarray(applied(IMAGE, "brightness", RANDAUGMENT, 0.5, -1))
    assert np.array_equal(bright, np.asarray(ImageEnhance.Brightness(IMAGE).enhance(0.55)))


def test_a_shear_keeps_the_centre_and_moves_rows_by_their_distance() -> None:
    line = np.zeros((21, 21, 3), np.uint8)
    line[:, 10] = 255
    sheared = np.asarray(applied(Image.fromarray(line), "shear-x", replace(TRIVIAL, shear=0.5), 1.0, 1))
    rows, columns = np.nonzero(sheared[:, :, 0])
    assert sheared[10, 10, 0] == 255
    assert np.abs(columns - 10 - 0.5 * (rows - 10)).max() <= 1
    down = np.asarray(applied(Image.fromarray(line.transpose(1, 0, 2)), "shear-y", replace(TRIVIAL, shear=0.5), 1.0, 1))
    assert np.array_equal(down, sheared.transpose(1, 0, 2))


@pytest.mark.parametrize(("name", "number"), [("randaugment", 2), ("trivial", 1)])
def test_policies_draw_all_operations_from_the_generator(name: str, number: int, monkeypatch: Any) -> None:
    drawn: list[tuple[str, float, int]] = []
    plain = policies.applied

    def noted(image: Image.Image, operation: str, strengths: Any, magnitude: float, sign: int) -> Image.Image:
        drawn.append((operation, magnitude, sign))
        return plain(image, operation, strengths, magnitude, sign)

    monkeypatch.setattr(policies, "applied", noted)
    policy = policies.policy(name)
    assert policy is not None
    rng = np.random.default_rng(3)
    views = [policy(PIXELS, rng) for _ in range(1500)]
    assert len(drawn) == 1500 * number
    often = Counter(operation for operation, _, _ in drawn)
    assert set(often) == set(OPERATIONS)
    mean = 1500 * number / len(OPERATIONS)
    assert max(abs(often[name] - mean) for name in OPERATIONS) < 5 * mean**0.5  # five standard deviations
    assert len({magnitude for _, magnitude, _ in drawn}) == (1 if name == "randaugment" else policies.STEPS)
    assert {sign for _, _, sign in drawn} == {1, -1}
    assert {view.shape for view in views} == {PIXELS.shape}
    rng = np.random.default_rng(3)
    assert all(np.array_equal(view, policy(PIXELS, rng)) for view in views[:20])


def _side(config: RunConfig, root: Path, epoch: int) -> torch.Tensor:
    """The first side of the first batch of an epoch."""
    data = datasets.of(config, root, train_list=None, test_list=None)
    trainer = Trainer(config, data, torch.device("cpu"))
    seen: list[torch.Tensor] = []
    side = trainer.source.side

    def noted(draws: Epoch, positions: torch.Tensor, number: int) -> torch.Tensor:
        images = side(draws, positions, number)
        seen.append(images)
        return images

    trainer.source.side = noted  # type: ignore[method-assign]
    trainer.steps.epoch = epoch - 1
    trainer.train_epoch()
    return seen[0]


def test_views_are_transformed_in_training_alone(tmp_path: Path) -> None:
    root = pets(tmp_path)
    own_code.trust(INVERTED)
    base = replace(with_preset(RunConfig(dataset="own", classes=3), "smoke"), width=4, epochs=2)
    plain, inverted = (_side(replace(base, transform=name), root, 1) for name in ("none", INVERTED))
    mean, std = sources.constants(*base.data_set.constants, torch.device("cpu"))  # type: ignore[misc]
    assert torch.allclose((inverted * std + mean), 1 - (plain * std + mean), atol=1e-5)
    data = datasets.of(base, root, train_list=None, test_list=None)
    tested = [
        torch.cat(list(sources.of(replace(base, transform=name), data, torch.device("cpu"), 0).test(torch.arange(7))))
        for name in ("none", INVERTED)
    ]
    assert torch.equal(*tested)
    first, again, later = (_side(replace(base, transform="trivial"), root, epoch) for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)
    assert not torch.equal(first, later)


def test_code_is_refused_where_nobody_named_it_or_it_changes_the_shape(tmp_path: Path, capsys: Any) -> None:
    root, halved = pets(tmp_path / "data"), "tests.training.own_network:halved"
    with pytest.raises(
        InvalidInput, match=f"--transform {INVERTED} is code of yours, which a stored run may only name"
    ):
        policies.policy(INVERTED)
    assert trained(root, tmp_path / "s", "--transform", halved) == 2
    error = capsys.readouterr().err.splitlines()[-1]  # no file is to blame, so no advice on files
    assert error.endswith("must return uint8 of shape (32, 32, 3)")
    with pytest.raises(InvalidInput, match="applies only to augmented image files"):
        RunConfig(transform="trivial")
    first = replace(with_preset(RunConfig(dataset="own", classes=3), "strong"))
    assert second_stage(first, "crt").transform == "trivial"


def test_a_finished_run_needs_no_transform_but_its_second_stage_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    root, store = pets(tmp_path / "data"), tmp_path / "s"
    assert trained(root, store, "--transform", INVERTED, "--alpha", "0") == 0
    (run,) = find(store)
    monkeypatch.setenv(own_code.VARIABLE, "")
    words = [str(run.path), "--data-root", str(root), "--workers", "0"]
    assert run_command(lambda: posthoc.main([*words, "--correction", "la"])) == 0
    assert run_command(lambda: stage2.main([*words, "--method", "crt", "--epochs", "1"])) == 2
    assert f"--trust-code {INVERTED} runs it" in capsys.readouterr().err
    assert len(list(find(store))) == 1


@pytest.mark.parametrize("name", ["randaugment", UPSIDE_DOWN])
def test_a_policy_reaches_a_process_that_decodes(name: str) -> None:
    own_code.trust(UPSIDE_DOWN)
    sent, policy = pickle.loads(pickle.dumps(policies.policy(name))), policies.policy(name)
    views = [each(PIXELS, np.random.default_rng(1)) for each in (sent, policy) if each is not None]
    assert np.array_equal(*views)
    assert not np.array_equal(views[0], PIXELS)


def test_runs_at_a_time_with_an_own_transform_are_those_one_by_one(tmp_path: Path) -> None:
    """Processes of runs at a time are spawned, and so are theirs that decode."""
    root, stores = pets(tmp_path / "d"), [tmp_path / "one", tmp_path / "two"]
    words = ["--transform", UPSIDE_DOWN, "--workers", "1", "--seeds", "0-1"]
    for store, more in zip(stores, ([], ["--jobs", "2"]), strict=True):
        assert trained(root, store, *words, *more) == 0
    finals = [[run.final()["test_answers"] for run in find(store)] for store in stores]
    assert len(finals[0]) == 2
    assert np.array_equal(*finals)


def test_old_runs_have_no_transform() -> None:
    assert RunConfig().transform == "none"
    config = RunConfig(dataset="own", classes=3)
    assert replace(config, transform="trivial").key != config.key


def test_a_command_takes_it(tmp_path: Path) -> None:
    assert trained(pets(tmp_path / "d"), tmp_path / "s", "--transform", "randaugment") == 0
    assert run_command(lambda: trained(tmp_path / "d", tmp_path / "s", "--transform", "randaugment")) == 0


@pytest.mark.parametrize(
    ("words", "augment", "transform"),
    [
        ([], True, "none"),
        (["--augment"], True, "none"),
        (["--preset", "smoke", "--no-augment"], False, "none"),
        (["--augment", "trivial"], True, "trivial"),
        (["--augment", "randaugment"], True, "randaugment"),
        (["--augment", "trivial", "--transform", "trivial"], True, "trivial"),
        (["--preset", "smoke", "--augment", "trivial"], True, "trivial"),
    ],
)
def test_augment_takes_a_word_and_is_the_run_of_the_two_options(
    words: list[str], augment: bool, transform: str
) -> None:
    parser = cli.Parser("test", "")
    add_recipe(parser)
    config = config_of(parser.parse_args(["--dataset", "imagenet-lt", *words]))
    assert (config.augment, config.transform) == (augment, transform)
    spelled = [
        "--augment" if augment else "--no-augment",
        "--transform",
        transform,
        *(words[:2] if "--preset" in words else []),
    ]
    assert config.key == config_of(parser.parse_args(["--dataset", "imagenet-lt", *spelled])).key


def test_a_transform_of_torchvision_is_named_by_its_class_or_as_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """With modules in its place that are as random, so that torchvision need not be there."""

    class AugMix(torch.nn.Module):
        def __init__(self, severity: int = 3) -> None:
            super().__init__()
            self.severity = severity

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            assert (image.shape, image.dtype) == ((3, 8, 8), torch.uint8)
            return image + torch.randint(self.severity, 256, image.shape, dtype=torch.uint8)

    v2 = types.ModuleType("torchvision.transforms.v2")
    v2.__dict__.update(
        AugMix=AugMix, RandomGrayscale=lambda p: torch.nn.Identity(), Compose=lambda all: torch.nn.Sequential(*all)
    )
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.transforms", types.SimpleNamespace(v2=v2))
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", v2)
    (example,) = code("docs/practice/own-images.md")
    own = types.ModuleType("my_code")
    exec(compile(example, "my_code.py", "exec"), own.__dict__)
    monkeypatch.setitem(sys.modules, "my_code", own)
    pixels, before = np.zeros((8, 8, 3), np.uint8), torch.get_rng_state()
    pixels.flags.writeable = False
    for name in ("torchvision.transforms.v2:AugMix", "my_code:policy"):
        own_code.trust(name)
        apply = pickle.loads(pickle.dumps(policies.policy(name)))
        first, again, other = (apply(pixels, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert (first.shape, first.dtype) == (pixels.shape, np.uint8)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert first.min() >= (3 if name.endswith("AugMix") else 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_transform_that_raises_is_shown_by_its_own_lines(workers: str, tmp_path: Path, capsys: Any) -> None:
    root, words = pets(tmp_path / "data"), ["--workers", workers, "--transform"]
    assert trained(root, tmp_path / "s", *words, "tests.training.own_network:broken") == 2
    said = capsys.readouterr().err.splitlines()
    *frames, error = [line for line in said if not line.startswith("note: ")]
    assert error.startswith("error: --transform tests.training.own_network:broken raised KeyError: ")
    assert error.isprintable()
    assert [frame.partition(" in ")[2] for frame in frames] == [
        "broken: return _asked(pixels)",
        '_asked: raise KeyError("of a transform\\x1b[31m")',
    ]
    assert trained(root, tmp_path / "s", *words, "tests.training.own_network:ragged") == 2
    assert "ragged raised ValueError: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--augment", "trivail"], "error: argument --augment: 'trivail' is unknown, did you mean 'trivial'?"),
        (["--no-augment", "trivial"], "error: argument --no-augment: it takes no word, and there is 'trivial'"),
        (
            ["--dataset", "own", "--data-root", "D", "--augment", "trivial", "--transform", "none"],
            "drop --transform none",
        ),
        (
            ["--augment", "trivial"],
            "transform 'trivial' applies only to augmented image files",
        ),  # the digits are no image files
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], message: str, tmp_path: Path, capsys: Any) -> None:
    pets(tmp_path / "D")
    words = [str(tmp_path / "D") if word == "D" else word for word in words]
    try:
        status = run_command(lambda: train.main([*words, "--store", str(tmp_path / "s")]))
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "s").exists()
