"""The commands of docs/, typed as printed, page by page, on data small enough to train on.

``D`` is a folder of own images, or CIFAR-10 with a hundred images per class, and every run ends after ``EPOCHS`` epochs: a
page's commands then take minutes. What needs more than a machine without a GPU has is listed in `NOT_RUN` with its reason;
`test_docs` parses those commands, too.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.pages import PAGES, ROOT, shell_lines

NOT_RUN = {
    r"--dataset (imagenet-lt|inaturalist2018|places-lt-ft) ": "needs the images of ImageNet, iNaturalist or Places",
    r"training\.table 10 ": "needs the images of ImageNet",
    r"benchmarks\.gpu_plan ": "needs a GPU",
    r"benchmarks\.peers": "takes minutes; tests/benchmarks/test_peers.py runs both commands",
    r"benchmarks\.law ": "trains networks for an hour; tests/benchmarks/test_law.py runs it on one",
    r"training\.table 8 --data-root D --jobs 4$": "trains hundreds of runs; numbers.md has such commands with fewer",
    r"--methods cheap": "trains fifty methods; tests/training/test_compare.py makes their runs",
    r"training\.table 7 .* --seeds ": "trains forty methods; tests/training/test_published.py trains a table",
    r"training\.queue --data-root D --[te]": "trains 54 networks; tests/training/test_queue.py trains three",
    r"--engine ray": "needs the hosts of a cluster; tests/training/test_cluster.py runs it on one",
    r"^(python3? -m venv|pip install|\. \.venv)": "sets a machine up; CI does",
    r"--weights resnet18": "needs a file of pretrained weights; tests/training/test_features_once.py makes one",
    r"figures --all": "draws every figure that the other commands draw one by one",
}
"""Patterns of lines that no test types, and why."""

EPOCHS = 3
"""Epochs of every run, whatever its preset or ``--epochs`` says."""

SHORTENED = f"""
import sys
from importlib.machinery import PathFinder


class Shortened:
    def find_spec(self, name, path=None, target=None):
        if name != "training.catalogue":
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def shortened(module):
            execute(module)
            for row in module.CATALOGUE.values():
                for recipe in row.presets.values():
                    recipe.update(epochs={EPOCHS}, warmup=1)

        spec.loader.exec_module = shortened
        return spec


sys.meta_path.insert(0, Shortened())
"""
"""A ``sitecustomize`` that shortens the presets in every process of a command."""

OWN, CIFAR = "own images", "CIFAR-10"

PAGES_AND_DATA = {
    "docs/practice/own-images.md": OWN,
    "docs/practice/finished-runs.md": OWN,
    "docs/practice/choosing-a-method.md": OWN,
    "docs/practice/training.md": CIFAR,
    "docs/practice/many-runs.md": CIFAR,
    "docs/reproduce/numbers.md": CIFAR,
    "docs/reproduce/figures.md": CIFAR,
    "docs/reproduce/queue.md": CIFAR,
    "docs/theory/claims.md": CIFAR,
    "docs/theory/collapse-law.md": CIFAR,
    "docs/theory/cures.md": CIFAR,
    "docs/theory/solving.md": CIFAR,
    **{
        name: CIFAR
        for page in PAGES
        if page.parent.name == "methods" and shell_lines(name := str(page.relative_to(ROOT)))
    },
}
"""What D is on a page."""


def typed(page: str) -> list[str]:
    """Return the lines of a page that a reader types, without those that cannot be run here."""
    lines = [line for line in shell_lines(page) if re.search(r"python -m|torchrun|^pip |^\w+=\"|^\. ", line)]
    return [line for line in lines if not any(re.search(pattern, line) for pattern in NOT_RUN)]


def own_images(folder: Path) -> None:
    """Three imbalanced classes of noise, each with a brightness of its own, and some new images."""
    rng = np.random.default_rng(0)
    for label, (name, number) in enumerate({"mole": 30, "scar": 12, "wart": 6}.items()):
        for place in (folder / "D" / name, folder / "new-images"):
            place.mkdir(parents=True, exist_ok=True)
            for i in range(number):
                pixels = rng.integers(60 * label, 60 * label + 100, (40, 48, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{name}-{i}.png")


def cifar(folder: Path) -> None:
    """CIFAR-10 in shape: JPEG images of noise in parquet files, a hundred per class to train on and ten to test on."""
    rng = np.random.default_rng(0)
    (folder / "D").mkdir()
    for part, number in (("train", 100), ("test", 10)):
        labels, images = np.repeat(np.arange(10), number), []
        for label in labels:
            file = io.BytesIO()
            pixels = rng.integers(15 * label, 15 * label + 100, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(file, "JPEG")
            images.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"img": images, "label": labels})
        pq.write_table(table, folder / "D" / f"{part}-00000-of-00001.parquet")


def prepare(page: str, folder: Path) -> None:
    """Put what a page's commands read into a folder."""
    {OWN: own_images, CIFAR: cifar}[PAGES_AND_DATA[page]](folder)
    (folder / "patients.csv").write_text("image,patient\nmole/mole-0.png,1\nmole/mole-1.png,1\n")
    (folder / "counts.txt").write_text("300\n100\n40\n8\n")
    (folder / "results").mkdir()
    for place in (folder, folder / "results"):
        shutil.copy(ROOT / "results/runs.csv", place)
    (folder / "tests").symlink_to(ROOT / "tests")
    (folder / "shortened").mkdir()
    (folder / "shortened/sitecustomize.py").write_text(SHORTENED)


def test_every_page_with_commands_is_run_or_says_why_not() -> None:
    pages = {
        str(page.relative_to(ROOT)) for page in PAGES if page.parent.name != "notebooks"
    }  # tests/test_notebooks.py
    with_commands = {page for page in pages if typed(page)} - {"README.md"}  # tests/test_first_hour.py types those
    assert with_commands == set(PAGES_AND_DATA)


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_no_reason_is_left_over(pattern: str) -> None:
    lines = [line for page in PAGES for line in shell_lines(str(page.relative_to(ROOT)))]
    assert [line for line in lines if re.search(pattern, line)]


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """A shell in a folder of its own, with this interpreter as ``python``."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path / 'shortened'}:{ROOT}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.heavy
@pytest.mark.parametrize("page", PAGES_AND_DATA)
def test_commands_run_as_printed(
    page: str, tmp_path: Path, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    prepare(page, tmp_path)
    if page == "docs/reproduce/figures.md":
        assert shell("python -m training.compare --seeds 0 --store runs").returncode == 0
    lines = [f"echo '# line {i}' >&2\n{line}" for i, line in enumerate(typed(page))]
    # The page divides the same folder in two ways; a reader chooses one.
    script = "\n".join(lines).replace("python -m training.split D --", "rm D/*.txt\npython -m training.split D --")
    script = re.sub(r"--decay-warmup \d+", "--decay-warmup 1", script.replace("RUN...", "runs/*/seed-0"))
    script = re.sub(r"--epochs \d+", f"--epochs {EPOCHS + 1}", script)  # other than the preset's
    # The epochs without boxes are more than are left.
    script = re.sub(r"--mixing (cmo|otmix-train)", r"--mixing \1 --cmo-first 1 --cmo-last 1", script)
    done = shell(script)
    last = int(re.findall(r"^# line (\d+)$", done.stderr, re.MULTILINE)[-1])
    assert done.returncode == 0, f"{typed(page)[last]}\n{done.stderr[-1500:]}"
    assert last == len(typed(page)) - 1
