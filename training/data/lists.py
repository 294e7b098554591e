"""Find the images on disk that lists name, for training and testing; :mod:`training.data.resolve` checks each path."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.text import counted
from training.catalogue import CATALOGUE, DataSet
from training.data.below import images_below
from training.data.class_folders import class_folders
from training.data.datasets import Listed, LongTailed, Request
from training.data.found import CLASS_NAMES, Part, label_names, source_of, usual_source
from training.data.list_rows import list_rows, names_in
from training.data.names import TABLES, normal
from training.data.parquet import SHARDS, unpacked
from training.data.refusals import Refuse, at_once
from training.data.resolve import Resolver


def load_long_tailed(request: Request) -> LongTailed:
    """Load a data set of image files, which has class counts of its own.

    Args:
        request: the folder of the files, the number of classes, and where the lists are.

    Returns:
        The checked lists; images are decoded when they are needed.

    Raises:
        InvalidInput: as :func:`load`.
    """
    row, folder = request.row, _folder_of(request.row, request.folder)
    train, test, names = load(
        row.name,
        folder,
        classes=request.classes,
        train_list=request.train_list,
        test_list=request.test_list,
        leave_out=request.leave_out,
    )
    assert row.constants is not None
    class_names = tuple(map(str, names))
    hashed_names = _numbers_of(class_names, source_of(row, folder, request.train_list, "train"), folder, row)
    left_out = tuple(sorted(request.leave_out))
    return LongTailed(
        request.name,
        train,
        test,
        request.classes,
        *row.constants,
        class_names,
        hashed_names=hashed_names,
        left_out=left_out,
    )


def _numbers_of(class_names: tuple[str, ...], train: Path, folder: Path, row: DataSet) -> tuple[str, ...] | None:
    """The labels of a JSON list that names its classes: 0.1.0 hashed these, and its runs go on. None for other lists."""
    named_elsewhere = not row.user_named or train.is_dir() or os.path.lexists(folder / CLASS_NAMES)
    in_list = None if named_elsewhere or train.suffix.lower() != ".json" else names_in(train)
    return None if in_list is None else tuple(str(in_list.index(name)) for name in class_names)


def load(
    dataset: str,
    root: Path,
    *,
    classes: int = 0,
    train_list: Path | None = None,
    test_list: Path | None = None,
    leave_out: Collection[str] = (),
) -> tuple[Listed, Listed, np.ndarray]:
    """Read and check the lists of a data set of image files.

    Classes are numbered by falling count of training images; those of equal count by the label in the list.

    Args:
        dataset: its name in the catalogue.
        root: the folder that paths are relative to.
        classes: number of classes, where the catalogue has none.
        train_list: the list of training images; by default it is under ``root`` with one of its usual names. For
            dataset 'own' both lists may also be folders that hold one folder of images per class; labels then follow
            the sorted names.
        test_list: the list of test images, in the same way.
        leave_out: paths of files that are left out, as if the lists did not have them.

    Returns:
        The training images, the test images, and the name of each class, (K,): the label in the list, the name that
        ``root/classes.txt`` has for it, or the name of its folder.

    Raises:
        InvalidInput: with the list's name and line, if lists are missing or malformed, if a class has no image, or if a
            path occurs twice, leads to no regular file, or leaves the root.
    """
    row = CATALOGUE.get(dataset)
    if row is None or row.lists is None:
        known = ", ".join(name for name, entry in CATALOGUE.items() if entry.lists is not None)
        raise InvalidInput(f"dataset {dataset!r} has no lists; choose one of {known}")
    if not root.is_dir():
        raise InvalidInput(f"--data-root {str(root)!r} is not a folder")
    K = row.classes or classes
    sources = source_of(row, root, train_list, "train"), source_of(row, root, test_list, "test")
    root = Path(os.path.realpath(root))
    names = _named(root, *sources, K) if row.user_named else None
    counted = names is None or os.path.lexists(root / CLASS_NAMES)
    resolver = Resolver(
        root=root,
        label_of=_label_of(names, K, counted=counted),
        names=names,
        named=row.user_named,
        leave_out=leave_out,
    )
    train, test = (
        _listed(resolver, source, K, use, part, untested=row.user_named)
        for source, use, part in zip(sources, ("training", "test"), _parts(*sources), strict=True)
    )
    order = np.argsort(-np.bincount(train.labels, minlength=K), kind="stable")
    number = np.argsort(order)
    return (
        replace(train, labels=number[train.labels]),
        replace(test, labels=number[test.labels]),
        order if names is None else np.array(names)[order],
    )


def _folder_of(row: DataSet, root: Path) -> Path:
    """The folder of the images: a published set may lie in a folder of its name inside ``--data-root``."""
    inside = root / (row.folder or row.name)
    return inside if inside.is_dir() and not row.user_named else root


class Files(NamedTuple):
    """The image files of a data set, before anything is refused.

    Attributes:
        root: the folder that paths are relative to, with links resolved.
        paths: the regular files, each once.
        problems: one sentence for each other row or folder, and each name of a class, which cannot be left out.
        unusable: by path, one sentence for each file that is missing or no image.
        left_out: paths of files that are left out for their names.
    """

    root: Path
    paths: list[str]
    problems: list[str]
    unusable: dict[str, str]
    left_out: Sequence[str] = ()


def files(
    dataset: str, root: Path, *, classes: int = 0, train_list: Path | None = None, test_list: Path | None = None
) -> Files:
    """Find the image files that :func:`load` would read, and everything about them that it would refuse.

    Args:
        dataset: its name in the catalogue.
        root: the folder that paths are relative to; the user's own may also hold images without lists.
        classes: as in :func:`load`; 0 where it is not known.
        train_list: as in :func:`load`.
        test_list: as in :func:`load`.

    Returns:
        The files.

    Raises:
        InvalidInput: if the root, or a list that was named, is missing or is no list at all.
    """
    row = CATALOGUE[dataset]
    if not root.is_dir():
        raise InvalidInput(f"{str(root)!r} is not a folder")
    root = _folder_of(row, root)
    sources: dict[Part, Path | None] = {"train": train_list, "test": test_list}
    if not row.user_named or any(usual_source(row, root, part) for part in sources):
        sources = {part: source_of(row, root, given, part) for part, given in sources.items()}
    real, problems, unusable = Path(os.path.realpath(root)), list[str](), dict[str, str]()
    if not any(sources.values()):
        images, other_files = images_below(root, refuse_file=unusable.__setitem__)
        return Files(real, [image.relative_to(root).as_posix() for image in images], problems, unusable, other_files)
    lists = [source for source in sources.values() if source is not None]
    names = _names(root, lists[0], problems.append) if row.user_named else None
    K = len(names) if names is not None else row.classes or classes
    resolver = Resolver(
        root=real,
        label_of=_label_of(names, K, counted=names is None or os.path.lexists(root / CLASS_NAMES)),
        names=names,
        named=row.user_named,
        refuse=problems.append,
        refuse_file=unusable.__setitem__,
    )
    parts = _parts(*lists) if len(lists) == 2 else ("",)
    paths = [found.path for source, part in zip(lists, parts, strict=True) for found in resolver.files(source, part)]
    return Files(real, paths, list(dict.fromkeys(problems)), unusable)


class Labelled(NamedTuple):
    """The images of one list, before anything is refused.

    Attributes:
        names: of the classes; the position of a name is its label.
        images: path below the root and label of each image.
        unusable: by path, one sentence for each file that is missing or no image.
        problems: one sentence for each other row, and each name of a class, which cannot be left out.
        left_out: paths of files that are left out for their names.
    """

    names: list[str]
    images: list[tuple[str, int]]
    unusable: dict[str, str]
    problems: list[str]
    left_out: Sequence[str] = ()


def labelled(root: Path, source: Path) -> Labelled:
    """Read one list of the user's own images.

    Args:
        root: the folder that paths are relative to.
        source: the list.

    Returns:
        Its images.

    Raises:
        InvalidInput: if it is no list at all.
    """
    source = unpacked(root, [source]) if source.suffix.lower() in SHARDS else source
    real, problems, unusable = Path(os.path.realpath(root)), list[str](), dict[str, str]()
    known = _names(root, source, problems.append)
    from_file = os.path.lexists(root / CLASS_NAMES)
    found = [row.label for row in list_rows(source, root=root, named=True, known=known, refuse=lambda reason: None)[0]]
    names = known or [str(label) for label in sorted({label for label in found if isinstance(label, int)})]
    number_of = {normal(name): number for number, name in enumerate(names)}
    counts = from_file and not all(map(str.isdecimal, names))

    def label_of(label: int | str) -> int:
        """A number counts the names of classes.txt, unless these are numbers themselves; else it is a name."""
        counted = isinstance(label, int) and (counts or label < 0)
        number = int(label) if counted else number_of.get(normal(str(label)), -1)
        if not 0 <= number < len(names):
            raise ValueError(f"label {str(label)[:40]!r} is none of the {len(names)} classes")
        return number

    resolver = Resolver(
        root=real, label_of=label_of, names=known, refuse=problems.append, refuse_file=unusable.__setitem__
    )
    images = [(path, label) for path, label, _ in resolver.files(source)]
    return Labelled(names, images, unusable, list(dict.fromkeys(problems)))


def _parts(train: Path, test: Path) -> tuple[str, str]:
    """The part of each list that is used: a list that both are, such as Hugging Face's, has both parts."""
    return ("train", "test") if train == test and train.suffix.lower() in TABLES else ("", "")


def _names(root: Path, train: Path, refuse: Refuse = at_once) -> list[str] | None:
    """The names of the user's own classes, None for lists without names."""
    if train.is_dir():
        return class_folders(train, refuse=refuse)
    return label_names(root, refuse=refuse) or names_in(train, root=root, refuse=refuse)


def _named(root: Path, train: Path, test: Path, K: int) -> list[str] | None:
    """The names of the user's own classes, None for lists without names.

    Raises InvalidInput unless there are K names, and if one of ``train`` and ``test`` is a folder and the other a list:
    a label would not mean the same class in both.
    """
    folders = train.is_dir()
    if folders != test.is_dir():
        kind, other_kind = ("a folder", "a list") if folders else ("a list", "a folder")
        raise InvalidInput(f"{str(train)!r} is {kind} and {str(test)!r} is {other_kind}; give two lists or two folders")
    from_file = not folders and os.path.lexists(root / CLASS_NAMES)
    names = _names(root, train)
    if names is not None and len(names) != K:
        shown = ", ".join(name[:20] for name in names[:10]) + (", ..." if len(names) > 10 else "")
        source = (
            f"{str(train)!r} has {counted(len(names), 'class folder')}"
            if folders
            else f"{str(root / CLASS_NAMES if from_file else train)!r} has {counted(len(names), 'name')}"
        )
        raise InvalidInput(f"{source} ({shown}), and the run has {K} classes (--classes); the two numbers must agree")
    return names


def _label_of(names: list[str] | None, K: int, *, counted: bool) -> Callable[[int | str], int]:
    """What numbers the labels of lists.

    Args:
        names: of the classes; None for lists without names.
        K: number of classes; 0 where it is not known.
        counted: whether numbers count the names. In a list that has names of its own, a number is one of them.
    """
    number_of = {normal(name): label for label, name in enumerate(names or ())}

    def label_of(row_label: int | str) -> int:
        word = row_label if counted else str(row_label)
        label = number_of.get(normal(word), row_label) if isinstance(word, str) else row_label
        if isinstance(label, str):
            if label[:1] == "-" and label[1:].isdecimal():
                raise ValueError(f"label {label[:20]!r} is no class; leave out rows that have no label")
            raise ValueError(f"label {label[:40]!r} is none of the {f'{K} ' if K else ''}classes' names")
        if not 0 <= label < (K or math.inf):
            hint = f", and {CLASS_NAMES} has {K} names" if names is not None else ""
            raise ValueError(f"label {str(label)[:20]} must lie in 0..{K - 1 if K else ''}: labels count from 0{hint}")
        return label

    return label_of


def _listed(resolver: Resolver, source: Path, K: int, use: str, part: str, *, untested: bool = False) -> Listed:
    """The images of one list, or of a folder that holds one folder per class, with the labels that it has.

    Args:
        resolver: finds the files.
        source: the list, or the folder.
        K: number of classes.
        use: 'training' or 'test', for errors.
        part: 'train' or 'test', where one list has both.
        untested: whether classes may have no test image.
    """
    paths: list[str] = []
    labels, sizes, times = array("q"), array("q"), array("q")  # 8 bytes per number; lists need forty
    for path, label, seen in resolver.files(source, part):
        paths.append(path)
        labels.append(label)
        sizes.append(seen.size)
        times.append(seen.time)
    label_array, size_array, time_array = (np.frombuffer(column, dtype=np.int64) for column in (labels, sizes, times))
    absent = np.flatnonzero(np.bincount(label_array, minlength=K) == 0)
    # Without a training image nothing of a class is learned. Without a test image its accuracy is unknown, no more.
    if len(absent) and (use == "training" or not untested or len(absent) == K):
        example = absent[0] if resolver.names is None else repr(resolver.names[absent[0]])
        raise InvalidInput(
            f"{str(source)!r}: {len(absent)} of {K} classes {'has' if len(absent) == 1 else 'have'} no {use} image, such as "
            f"class {example}"
        )
    return Listed(resolver.root, tuple(paths), label_array, size_array, time_array)
