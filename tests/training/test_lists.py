"""Lists of images: both forms, the numbering of classes, and lists that are wrong or mean harm."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lpm.console.errors import InvalidInput
from tests.training.large import as_inaturalist, make
from training.catalogue import CATALOGUE
from training.data import list_rows, untrusted
from training.data.datasets import Listed, LongTailed
from training.data.lists import load

TRAIN = [("a/0.jpg", 2), ("a/1.jpg", 2), ("b/with space.jpg", 0), ("b/2.jpg", 1), ("b/3.jpg", 1), ("a/4.jpg", 1)]
TEST = [("c/0.jpg", 0), ("c/1.jpg", 1), ("c/2.jpg", 2)]


def fingerprint(train: Listed, test: Listed) -> str:
    """The hash of two lists, as a run stores it."""
    return LongTailed("x", train, test, 3, (0.0,), (1.0,)).fingerprint["sha256"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three classes and lists as Places' ones; the files have 1, 2, ... bytes."""
    monkeypatch.setitem(CATALOGUE, "places-lt", replace(CATALOGUE["places-lt"], classes=3))
    folder = tmp_path / "data"
    for size, (path, _) in enumerate(TRAIN + TEST, 1):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x" * size)
    write(folder, TRAIN, TEST)
    return folder


def write(root: Path, train: list[tuple[str, int]], test: list[tuple[str, int]] = TEST) -> None:
    for name, rows in (("train", train), ("test", test)):
        (root / f"Places_LT_{name}.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))


def refused(root: Path, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        load("places-lt", root)
    assert str(error.value).isprintable()


def test_classes_are_numbered_by_falling_count_and_the_test_list_follows(root: Path) -> None:
    train, test, order = load("places-lt", root)
    assert train.paths == tuple(path for path, _ in TRAIN)  # in the list's order
    assert order.tolist() == [1, 2, 0]
    assert order[train.labels].tolist() == [label for _, label in TRAIN]
    assert order[test.labels].tolist() == [0, 1, 2]
    assert train.sizes.tolist() == [1, 2, 3, 4, 5, 6]
    assert train.labels.dtype == np.int64
    assert (len(train), train.root) == (6, root.resolve())


def test_classes_of_equal_count_keep_the_lists_order(root: Path) -> None:
    write(root, [("a/0.jpg", 2), ("b/2.jpg", 1), ("b/3.jpg", 0), ("a/4.jpg", 2)])
    assert load("places-lt", root)[2].tolist() == [2, 0, 1]


@pytest.mark.parametrize("dataset", ["places-lt", "imagenet-lt"])
def test_whole_sets_in_the_text_form(dataset: str, tmp_path: Path) -> None:
    counts = make(dataset, tmp_path)
    train, test, order = load(dataset, tmp_path)
    assert np.array_equal(np.bincount(train.labels), counts[order])
    assert (np.diff(counts[order]) <= 0).all()
    assert sorted(order) == list(range(CATALOGUE[dataset].classes))
    assert np.bincount(test.labels).tolist() == [1] * len(counts)
    assert all(f"/{order[k]:04d}/" in path for path, k in zip(train.paths, train.labels, strict=True))


def test_inaturalists_json_is_the_text_form_otherwise(tmp_path: Path) -> None:
    counts = make("inaturalist2018", tmp_path, most=2, least=1, as_json=True)
    train, test, order = load("inaturalist2018", tmp_path)
    assert np.array_equal(np.bincount(train.labels), counts[order])
    for name, part in (("train", train), ("val", test)):
        rows = zip(part.paths, order[part.labels], strict=True)
        (tmp_path / f"iNaturalist18_{name}.txt").write_text("".join(f"{path} {k}\n" for path, k in rows))
    again = load("inaturalist2018", tmp_path)
    assert fingerprint(*again[:2]) == fingerprint(train, test)
    assert np.array_equal(again[2], order)


def test_lists_may_lie_elsewhere_and_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    for name in ("train", "test"):
        (root / f"Places_LT_{name}.txt").rename(tmp_path / f"{name}.txt")
    given = {"train_list": tmp_path / "train.txt", "test_list": tmp_path / "test.txt"}
    train, _, _ = load("places-lt", tmp_path / "link", **given)
    assert train.root == root.resolve()
    refused(root, "holds no Places_LT_train.txt; say where it is with --train-list")


def test_windows_line_ends_a_mark_at_the_start_and_empty_lines_are_read(root: Path) -> None:
    lines = "\r\n".join(f"./{path}\t{label} " for path, label in TRAIN)
    (root / "Places_LT_train.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode() + b"\r\n\r\n")
    assert load("places-lt", root)[0].paths == tuple(path for path, _ in TRAIN)


def test_links_inside_the_root_are_followed(root: Path) -> None:
    (root / "a/4.jpg").rename(root / "b/moved.jpg")
    (root / "a/4.jpg").symlink_to("../b/moved.jpg")
    (root / "a").rename(root / "d")
    (root / "a").symlink_to("d")
    assert load("places-lt", root)[0].sizes.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a/0.jpg", "Places_LT_train.txt', line 1: 'a/0.jpg' is not a path, a space and a label"),
        (b"a/0.jpg 2\na/1.jpg two\n", "line 2: label 'two' is not a whole number"),
        (b"a/0.jpg -1\n", "line 1: label '-1' is not a whole number"),
        (b"a/0.jpg 1.0\n", "line 1: label '1.0' is not a whole number"),
        (b"a/0.jpg 1_0\n", "line 1: label '1_0' is not a whole number"),
        ("a/0.jpg \u0661\n".encode(), "line 1: label '.' is not a whole number"),
        (b"a/0.jpg 3\n", r"line 1: label 3 must lie in 0\.\.2"),
        (b"a/0.jpg " + b"9" * 5000, "line 1: label '9{20}' is not a whole number"),
        (b"a/0.jpg 2\n\xff\xfe 1\n", "line 2: it is not text in UTF-8"),
        (b"a/0.jpg 2\nb/2.jpg 1\na/0.jpg 2\n", "line 3: 'a/0.jpg' is there already, in .*Places_LT_train.txt'"),
        (b"a/0.jpg 2\na//./0.jpg 2\n", "line 2: 'a/0.jpg' is there already"),
        (b"a/0.jpg 2\na/none.jpg 2\n", "line 2: 'a/none.jpg': No such file"),
        (b"none/0.jpg 2\n", "line 1: 'none/0.jpg': No such file"),
        (b"a/0.jpg/0.jpg 2\n", "line 1: 'a/0.jpg/0.jpg': Not a directory"),
        (b"a 2\n", "line 1: 'a' is not a regular file"),
        (b"a/\x00.jpg 2\n", "line 1: embedded null byte"),
        (b"a/\x1b[2J.jpg 2\n", r"line 1: 'a/.x1b\[2J.jpg': No such file"),
        (b"/etc/passwd 2\n", "line 1: '/etc/passwd' must be relative to --data-root, without '..'"),
        (b"a/../../x.jpg 2\n", "line 1: 'a/../../x.jpg' must be relative to --data-root, without '..'"),
        (b"", "3 of 3 classes have no training image, such as class 0"),
        (b"a/0.jpg 2\nb/2.jpg 0\n", "1 of 3 classes has no training image, such as class 1"),
        (b"x" * 300 + b".jpg 2\n", "line 1: 'x{200}': File name too long"),
    ],
)
def test_a_wrong_line_is_named(content: bytes, message: str, root: Path) -> None:
    (root / "Places_LT_train.txt").write_bytes(content)
    refused(root, message)


def test_a_test_list_is_checked_as_the_other_and_against_it(root: Path) -> None:
    write(root, TRAIN, TEST[:2])
    refused(root, "Places_LT_test.txt': 1 of 3 classes has no test image, such as class 2")
    write(root, TRAIN, [*TEST, TRAIN[0]])
    refused(root, "Places_LT_test.txt', line 4: 'a/0.jpg' is there already, in .*Places_LT_train.txt'")


def to_a_folder_outside(root: Path) -> None:
    (root.parent / "out").mkdir()
    (root.parent / "out" / "0.jpg").touch()
    (root / "e").symlink_to(root.parent / "out")


def to_a_file_outside(root: Path) -> None:
    (root / "e").mkdir()
    (root.parent / "out.jpg").touch()
    (root / "e/0.jpg").symlink_to("../../out.jpg")


def to_a_sibling(root: Path) -> None:
    """A folder whose name begins as the root's does is not in it."""
    sibling = root.parent / (root.name + "-2")
    sibling.mkdir()
    (sibling / "0.jpg").touch()
    (root / "e").symlink_to(sibling)


def to_itself(root: Path) -> None:
    (root / "e").mkdir()
    (root / "e/0.jpg").symlink_to("0.jpg")


def a_pipe(root: Path) -> None:
    (root / "e").mkdir()
    os.mkfifo(root / "e/0.jpg")


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (to_a_folder_outside, "'e/0.jpg' is or lies behind a link that leaves --data-root"),
        (to_a_file_outside, "'e/0.jpg' is or lies behind a link that leaves --data-root"),
        (to_a_sibling, "'e/0.jpg' is or lies behind a link that leaves --data-root"),
        (to_itself, "'e/0.jpg': Too many levels of symbolic links"),
        (a_pipe, "'e/0.jpg' is not a regular file"),
    ],
)
def test_what_leads_out_of_the_root_or_to_no_file_is_refused(
    put: Callable[[Path], None], message: str, root: Path
) -> None:
    put(root)
    write(root, [*TRAIN, ("e/0.jpg", 1)])
    refused(root, f"line 7: {message}")


def test_a_list_that_is_a_link_out_of_the_root_a_pipe_or_too_large_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "Places_LT_train.txt"
    monkeypatch.setattr(list_rows, "LIMIT", file.stat().st_size - 1)
    refused(root, "Places_LT_train.txt' has 69 bytes; at most 68 are read")
    file.rename(root.parent / "secret.txt")
    file.symlink_to(root.parent / "secret.txt")
    refused(root, "Places_LT_train.txt' is a link that leaves --data-root; give it with --train-list")
    file.unlink()
    file.symlink_to(file.name)
    refused(root, "Places_LT_train.txt' cannot be read: Too many levels of symbolic links")
    file.unlink()
    os.mkfifo(file)
    refused(root, "Places_LT_train.txt' is not a regular file")
    with pytest.raises(InvalidInput, match=r"none\.txt' cannot be read: No such file"):
        load("places-lt", root, train_list=root / "none.txt")


def altered(change: Callable[[dict[str, list[dict[str, object]]]], object]) -> str:
    content = json.loads(as_inaturalist(TRAIN))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "train.json' is not JSON: Expecting property name"),
        ("[" * 200_000, "is not JSON: maximum recursion depth exceeded"),
        ('{"images": ' + "9" * 5000 + "}", "is not JSON: Exceeds the limit"),
        ("[]", "has no list 'annotations'"),
        (altered(lambda c: c.update(images=3)), "has no list 'images'"),
        (altered(lambda c: c["images"].append([])), r"images\[6\]: it needs id \(int\) and file_name \(str\)"),
        (altered(lambda c: c["images"][1].pop("id")), r"images\[1\]: it needs id"),
        (altered(lambda c: c["images"][1].update(id=True)), r"images\[1\]: it needs id"),
        (altered(lambda c: c["images"][1].update(id=0)), r"images\[1\]: no annotation is left for its id"),
        (altered(lambda c: c["images"][1].update(file_name=None)), r"images\[1\]: it needs"),
        (altered(lambda c: c["images"][1].update(file_name="../x")), r"images\[1\]: '../x' must be relative"),
        (altered(lambda c: c["images"][1].update(file_name="\ud800")), r"images\[1\]: .*surrogates not allowed"),
        (altered(lambda c: c["images"][1].update(file_name="\x1b\n")), r"images\[1\]: '.x1b.n': No such file"),
        (
            altered(lambda c: c["annotations"][5].update(category_id=True)),
            r"annotations\[5\]: it needs image_id \(int\)",
        ),
        (altered(lambda c: c["annotations"][5].update(category_id=1.0)), r"annotations\[5\]: it needs"),
        (altered(lambda c: c["annotations"][5].update(category_id=3)), r"images\[0\]: label 3 must lie in 0\.\.2"),
        (altered(lambda c: c["annotations"][5].update(category_id=-1)), r"images\[0\]: label -1 must lie in 0\.\.2"),
        (altered(lambda c: c["annotations"][5].update(image_id=7)), r"annotations\[5\]: its image has a label already"),
        (altered(lambda c: c["annotations"].pop()), r"images\[0\]: no annotation is left for its id"),
        (altered(lambda c: c["images"].pop()), "1 annotation belongs to images that the list does not have"),
    ],
)
def test_wrong_json_is_one_line(content: str, message: str, root: Path) -> None:
    (root / "train.json").write_text(content)
    with pytest.raises(InvalidInput, match=message) as error:
        load("places-lt", root, train_list=root / "train.json")
    assert str(error.value).isprintable()


def test_unknown_sets_and_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="dataset 'cifar10-lt' has no lists; choose one of imagenet-lt"):
        load("cifar10-lt", tmp_path)
    with pytest.raises(InvalidInput, match="none' is not a folder"):
        load("places-lt", tmp_path / "none")


def test_the_fingerprint_sees_paths_labels_and_sizes_and_not_where_the_root_is(root: Path, tmp_path: Path) -> None:
    train, test, _ = load("places-lt", root)
    known = fingerprint(train, test)
    root.rename(tmp_path / "elsewhere")
    assert fingerprint(*load("places-lt", tmp_path / "elsewhere")[:2]) == known
    for change in (
        {"paths": ("a/5.jpg", *train.paths[1:])},
        {"labels": train.labels[::-1]},
        {"sizes": train.sizes + 1},
    ):
        assert fingerprint(replace(train, **change), test) != known
    assert fingerprint(test, train) != known


def test_a_files_bytes_are_read_only_where_they_are_few_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    assert untrusted.contents(tmp_path / "file", 4) == b"1234"
    for path, limit, message in (
        (tmp_path / "file", 3, "file' has 4 bytes; at most 3 are read"),
        (tmp_path, 4, r"' (is not a regular file|cannot be read: Is a directory)"),
        (tmp_path / "none", 4, "none' cannot be read: No such file"),
        (Path("/dev/zero"), 4, "'/dev/zero' is not a regular file"),
        ("a\0b", 4, r"'a.x00b' cannot be read: embedded null byte"),
    ):
        with pytest.raises(InvalidInput, match=message):
            untrusted.contents(path, limit)


def test_memory_is_some_bytes_per_image(root: Path) -> None:
    """Each path is a string of its own; labels and sizes are arrays."""
    rows = [(f"a/{i:06d}.jpg", i % 3) for i in range(2000)]
    for path, _ in rows:
        (root / path).touch()
    write(root, rows)
    load("places-lt", root)
    tracemalloc.start()
    try:
        train, _, _ = load("places-lt", root)
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(train) == 2000
    assert current < 2000 * 150
    assert peak < 2000 * 450
