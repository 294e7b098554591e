"""Lists whose groups of images, such as those of a patient, are on one side each."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.large import encoded
from training import split
from training.data import groups
from training.data.groups import divide


def cost(labels: np.ndarray, tested: np.ndarray, share: float) -> float:
    """The sum over classes of (t - share n)^2 / n, written independently."""
    n = np.bincount(labels)
    return float(((np.bincount(labels[tested], minlength=len(n)) - share * n) ** 2 / n).sum())


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_whole_and_classes_get_about_their_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), (400, 120, 40, 12))
    members = rng.integers(0, 60, len(labels))  # patients, most with several classes
    tested = divide(labels.tolist(), members.tolist(), 0.25, np.random.default_rng(seed))
    sides = defaultdict(set)
    for member, side in zip(members.tolist(), tested.tolist(), strict=True):
        sides[member].add(side)
    assert {len(side) for side in sides.values()} == {1}
    shares = np.bincount(labels[tested], minlength=4) / np.bincount(labels)
    assert np.abs(shares - 0.25).max() < 0.11
    assert divide(labels.tolist(), members.tolist(), 0.25, np.random.default_rng(seed)).tolist() == tested.tolist()


@pytest.mark.parametrize("seed", range(10))
def test_no_move_of_a_single_group_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, members = rng.integers(0, 3, 60), rng.integers(0, 9, 60)
    tested = divide(labels.tolist(), members.tolist(), 0.3, rng)
    best = min(
        cost(labels, np.isin(members, chosen), 0.3)
        for size in range(10)
        for chosen in itertools.combinations(range(9), size)
    )
    found = cost(labels, tested, 0.3)
    assert found <= best + 1  # of images, squared, for each image of a class
    for member in range(9):
        other = np.where(members == member, ~tested, tested)
        if np.isin(labels, labels[other]).all() and np.isin(labels, labels[~other]).all():
            assert cost(labels, other, 0.3) >= found - 1e-9


def test_every_class_has_an_image_in_both_sets_if_its_groups_allow() -> None:
    labels = [0] * 40 + [1] * 40 + [2] * 3
    members = [f"a{i % 2}" for i in range(40)] + [f"b{i}" for i in range(40)] + ["c"] * 3
    tested = divide(labels, members, 0.1, np.random.default_rng(0))
    counts = Counter(zip(labels, tested.tolist(), strict=True))
    assert counts[0, True] == 20  # of two groups, the share is nearer to none
    assert counts[1, True] == 4
    assert counts[2, True] == 0  # one group is for training


def test_many_small_classes_are_divided_in_seconds() -> None:
    labels = np.repeat(np.arange(8_000), 3)
    members = np.arange(len(labels)) // 2  # some pairs of images, of one class or of two
    tested = divide(labels.tolist(), members.tolist(), 0.2, np.random.default_rng(0))
    counts = np.bincount(labels[tested], minlength=8_000)
    assert (counts > 0).mean() > 0.99
    assert (counts < 3).all()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, file in enumerate(encoded(20)):
        path = tmp_path / ("cat" if number < 12 else "dog") / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file)
    return tmp_path


def patient(number: int) -> str:
    return f"p{number % 5}"


FORMS = {
    "g.csv": "image,age,patient_id\n" + "".join(f"{n},{40 + n},{patient(n)}\n" for n in range(20)),
    "g.tsv": "Group\tfile_name\n" + "".join(f"{patient(n)}\t{n}.jpg\n" for n in range(20)),
    "two.csv": "path,burst of photos\n"
    + "".join(f"{'cat' if n < 12 else 'dog'}/{n}.jpg,{patient(n)}\n" for n in range(20)),
    "g.txt": "".join(f"{'cat' if n < 12 else 'dog'}/{n}.jpg {patient(n)}\n" for n in range(20)),
    "absolute.txt": "".join(f"ROOT/{'cat' if n < 12 else 'dog'}/{n}.jpg {patient(n)}\n" for n in range(20)),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_patient_is_on_one_side(name: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / name
    file.write_text(FORMS[name].replace("ROOT", str(root)))
    assert run_command(lambda: split.main([str(root), "--test-share", "0.4", "--groups", str(file)])) == 0
    lines = capsys.readouterr().out.splitlines()
    sides = [
        {patient(int(row.split("/")[1].split(".")[0])) for row in (root / part).read_text().splitlines()}
        for part in ("train.txt", "test.txt")
    ]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {f"p{i}" for i in range(5)}
    assert lines[1].startswith(
        f"{len(sides[0])} groups for training, {len(sides[1])} for testing, none on both sides; "
    )
    assert "% of a class's images are for testing" in lines[1]


def test_copies_join_groups_and_other_images_are_their_own(root: Path) -> None:
    (root / "dog" / "13.jpg").write_bytes((root / "cat" / "0.jpg").read_bytes())
    group_of = {"cat/0.jpg": "a", "cat/1.jpg": "a", "dog/13.jpg": "b", "dog/14.jpg": "b"}
    for seed in range(8):
        _, train, test = split.split(root, 0.4, seed, group_of)
        sides = [{path for path, _ in part} & group_of.keys() for part in (train, test)]
        assert sorted(map(len, sides)) == [0, 4]
        assert len(train) + len(test) == 20


@pytest.mark.parametrize(
    ("name", "text", "column", "message"),
    [
        ("g.csv", "id,group\n0,a\n0.jpg,b\n", None, r"line 3: 'cat/0.jpg' is in group 'a' already, and not in 'b'"),
        ("g.csv", "id,group\n0,a,b\n", None, "line 2: it has 3 cells, and the first line 2"),
        ("g.csv", "a,b\n0,a\n", None, "its first line names no column of paths"),
        ("g.csv", "id,x,y\n0,a,b\n", None, "has no column 'group' or 'patient'; say which one with --group-column"),
        ("g.csv", "id,x,y\n0,a,b\n", "z", "has no column 'z'; its columns are id, x, y"),
        ("g.txt", "cat/0.jpg\n", None, "line 1: 'cat/0.jpg' is not a path, a space and a group"),
        ("g.txt", "cat/0.jpg a\n", "z", "has no columns; --group-column is for"),
        ("g.csv", b"\xff", None, "is not text in UTF-8"),
        ("g.csv", "id,group\nnone,a\n", None, "names no image of .*, such as 'none'; paths"),
    ],
)
def test_a_wrong_file_of_groups_is_one_line(
    name: str, text: str | bytes, column: str | None, message: str, root: Path
) -> None:
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput, match=message) as error:
        groups.read(root / name, root, column=column)
    assert "\n" not in str(error.value)
