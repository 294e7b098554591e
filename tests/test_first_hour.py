"""A user's first hour: the README's commands, typed as printed one after another, on a small folder of images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def commands(title: str) -> list[str]:
    """The ``python -m`` commands below a heading of the README: indented lines, and those within sentences."""
    text = (ROOT / "README.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^    (python -m .+)$", text, re.M) + re.findall(r"`(python -m [^`]+)`", text)


def pictures(folder: Path) -> None:
    """Three imbalanced classes of noise, each with a brightness of its own."""
    rng = np.random.default_rng(0)
    for label, (name, number) in enumerate({"mole": 30, "scar": 12, "wart": 6}.items()):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.integers(60 * label, 60 * label + 100, (40, 48, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


@pytest.mark.heavy
def test_the_readmes_commands_run_as_printed(tmp_path: Path) -> None:
    pictures(tmp_path / "D")
    pictures(tmp_path / "new")
    (tmp_path / "new/mole").rename(tmp_path / "new-images")
    typed = [*commands("Your own images"), *commands("Is the paper right?")]
    typed = [command.replace("--minutes 5", "--minutes 600") for command in typed]  # a busy machine may need more
    assert len(typed) >= 5
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = []
    for command in typed:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-1500:]}"
        printed.append(done.stdout)
    compared = next(text for command, text in zip(typed, printed, strict=True) if "compare --dataset own" in command)
    first_cells = re.findall(r"^\| (\w+\+\w+) +\|", compared, re.M)
    assert first_cells[:4] == ["random+FC", "CAS+FC", "BMLS+FC", "BMLS+MS"]
    assert "image,rank,class,score" in "".join(printed)
