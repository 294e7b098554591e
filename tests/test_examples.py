"""The examples for other people's loops: they run and learn, are short, and their pages show lines that they have."""

from __future__ import annotations

import ast
import builtins
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pages import ROOT, text

SCRIPTS = {"plain": "plain", "lightning": "lightning_ddp", "timm": "timm_loop", "hugging-face": "hugging_face"}
"""The script of each page."""

UNFIT = re.compile(r"RuntimeError: operator torchvision::\w+ does not exist")
"""What importing a torchvision says that is not of this torch."""


CHANCE = 50
"""Accuracy in % of few epochs on the folders. One class for all test images has 33, and two classes told apart have 67."""

LIBRARY = {"lightning_ddp": "lightning", "timm_loop": "timm", "hugging_face": "datasets"}
"""What an example is for; without it none is started."""


def accuracy(script: str, *words: str, folder: Path) -> float:
    """Run an example as its users do, and return the accuracy that it prints."""
    library = LIBRARY.get(script, "torch")
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    command = [sys.executable, str(ROOT / f"examples/{script}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=600)
    if done.returncode and (unfit := UNFIT.search(done.stderr)):
        pytest.skip(unfit.group())
    assert done.returncode == 0, done.stderr[-2000:]
    return float(re.findall(r"accuracy ([\d.]+) %", done.stdout)[-1])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train/ and test/ with dark, grey and light images, one folder per class."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, counts in (
        ("train", {"light": 40, "dark": 12, "grey": 6}),
        ("test", dict.fromkeys(("light", "dark", "grey"), 10)),
    ):
        for name, number in counts.items():
            level = {"dark": 20, "grey": 110, "light": 200}[name]
            (folder / part / name).mkdir(parents=True)
            for i in range(number):
                pixels = level + rng.integers(0, 50, (12, 12, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{i}.png")
    return folder


def test_plain_pytorch(tmp_path: Path) -> None:
    assert accuracy("plain", "--epochs", "5", folder=tmp_path) > 60


def test_plain_pytorch_with_folders_of_images(images: Path, tmp_path: Path) -> None:
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    assert accuracy("plain", "--data", str(images), "--epochs", "4", "--batch", "16", folder=tmp_path) > CHANCE


@pytest.mark.parametrize("processes", [1, 2])
def test_lightning(processes: int, tmp_path: Path) -> None:
    assert accuracy("lightning_ddp", "--epochs", "4", "--processes", str(processes), folder=tmp_path) > 60


def test_timm(tmp_path: Path) -> None:
    assert accuracy("timm_loop", "--epochs", "5", folder=tmp_path) > 40


def test_timm_with_folders_of_images(images: Path, tmp_path: Path) -> None:
    words = ("--data", str(images), "--classes", "3", "--epochs", "6", "--batch", "16")
    assert accuracy("timm_loop", *words, folder=tmp_path) > CHANCE


def test_hugging_face_with_folders_of_images(images: Path, tmp_path: Path) -> None:
    assert accuracy("hugging_face", "--data", str(images), "--epochs", "15", folder=tmp_path) > 60


def test_hugging_face_with_parquet(images: Path, tmp_path: Path) -> None:
    if find_spec("datasets") is None:
        pytest.skip("datasets is not installed")
    code = (
        "import sys, datasets; data = datasets.load_dataset('imagefolder', data_dir=sys.argv[1])\n"
        "for part in data: data[part].to_parquet(f'{part}-0.parquet')"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", code, str(images)], cwd=tmp_path, capture_output=True, text=True, env=env
    )
    assert made.returncode == 0, made.stderr[-2000:]
    assert accuracy("hugging_face", "--data", str(tmp_path), "--parquet", "--epochs", "15", folder=tmp_path) > 60


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_an_example_is_short(script: str) -> None:
    assert len(text(f"examples/{script}.py").splitlines()) < 80


def diff_of(page: str) -> str:
    """The diff of a page."""
    (diff,) = re.findall(r"```diff\n(.*?)```", text(f"docs/practice/examples/{page}.md"), re.DOTALL)
    return diff


@pytest.mark.parametrize("page", SCRIPTS)
def test_a_page_adds_lines_that_its_example_has(page: str) -> None:
    diff = diff_of(page)
    lines = {line.strip() for line in text(f"examples/{SCRIPTS[page]}.py").splitlines()}
    added, removed = ({line[1:].strip() for line in diff.splitlines() if line[0:1] == sign} for sign in "+-")
    assert len(added - {""}) >= 6
    assert added - lines == set()
    assert not removed & lines


@pytest.mark.parametrize("page", SCRIPTS)
def test_a_diff_has_or_imports_every_name_that_it_adds(page: str) -> None:
    known, used = set(dir(builtins)), set[str]()
    for hunk in diff_of(page).split("\n\n"):
        lines = hunk.splitlines()
        after = [line for line in lines if line[0] != "-"]
        # What a line has that stays or goes is in the reader's script already.
        known |= {word for line in lines if line[0] != "+" for word in re.findall(r"\w+", line)}
        for node in ast.walk(ast.parse(textwrap.dedent("\n".join(line[1:] for line in after)))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used |= {node.id} if after[node.lineno - 1][0] == "+" else set()
            elif isinstance(node, ast.Name):
                known.add(node.id)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
            elif isinstance(node, ast.alias):
                known.add(node.asname or node.name)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
    assert used - known == set()


@pytest.mark.parametrize("page", ["index", "timm"])
def test_examples_of_the_pages_run(page: str) -> None:
    from tests.pages import code

    (example,) = code(f"docs/practice/examples/{page}.md")
    names: dict[str, Any] = {}
    exec(compile(example, page, "exec"), names)
    assert bool(names["loss"].isfinite())
