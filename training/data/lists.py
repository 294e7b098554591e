"""Find the images on disk that lists name, for training and testing.

A list (:mod:`training.data.list_rows`) is data from elsewhere. Every path is checked before training: it must lead to a
regular file inside the root.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lpm.console.errors import InvalidInput
from training.catalogue import CATALOGUE, DataSet
from training.data.below import FilesBelow, check_form, images_below, inside
from training.data.class_folders import class_folders, folder_rows
from training.data.datasets import Images, Listed, LongTailed, Request
from training.data.found import CLASS_NAMES, Part, finder_of, label_names, source_of, usual_source
from training.data.list_rows import list_rows, names_in
from training.data.names import normal
from training.data.parquet import unpacked
from training.data.untrusted import contents


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
    list_of_file: dict[str, str] = {}
    train, test = (
        _listed(root, source, K, use, list_of_file, names, leave_out, untested=row.user_named)
        for source, use in zip(sources, ("training", "test"), strict=True)
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
        problems: one sentence for each other row or folder, which cannot be left out.
        unusable: by path, one sentence for each file that is missing or no image.
        left_out: number of files that are left out for their names.
    """

    root: Path
    paths: list[str]
    problems: list[str]
    unusable: dict[str, str]
    left_out: int = 0


def files(dataset: str, root: Path, *, train_list: Path | None = None, test_list: Path | None = None) -> Files:
    """Find the image files that :func:`load` would read, and everything about them that it would refuse.

    Args:
        dataset: its name in the catalogue.
        root: the folder that paths are relative to; the user's own may also hold images without lists.
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
    paths: dict[str, None] = {}
    known = FilesBelow(real)
    folders = next((class_folders(source) for source in sources.values() if source and source.is_dir()), [])
    for source in filter(None, sources.values()):
        rows, place = (
            (folder_rows(source, real, folders, refuse=problems.append, refuse_file=unusable.__setitem__), "image {}")
            if source.is_dir()
            else list_rows(source, named=row.user_named)
        )
        find = finder_of(real, source).find
        for number, path, _ in rows:
            start = f"{str(source)!r}, {place.format(number)}"
            try:
                path = inside(find(path), real)
            except ValueError as error:
                problems.append(f"{start}: {error}")
                continue
            try:
                check_form(path)
                known.look(path)
            except OSError as error:
                unusable[path] = f"{start}: {path[:200]!r}: {error.strerror}"
            except ValueError as error:
                unusable[path] = f"{start}: {error}"
            else:
                paths[path] = None
    return Files(real, list(paths), problems, unusable)


class Labelled(NamedTuple):
    """The images of one list, before anything is refused.

    Attributes:
        names: of the classes; the position of a name is its label.
        images: path below the root and label of each image.
        unusable: by path, one sentence for each file that is missing or no image.
    """

    names: list[str]
    images: list[tuple[str, int]]
    unusable: dict[str, str]


def labelled(root: Path, source: Path) -> Labelled:
    """Read one list of the user's own images.

    Args:
        root: the folder that paths are relative to.
        source: the list.

    Returns:
        Its images.

    Raises:
        InvalidInput: if the list is malformed, or a path leaves the root or occurs twice.
    """
    source = unpacked(root, [source]) if source.suffix.lower() == ".parquet" else source
    root, listed = Path(os.path.realpath(root)), label_names(root)
    known = listed or names_in(source)
    rows, place = list_rows(source, named=True, known=known)
    found, find, look = list[tuple[str, int | str]](), finder_of(root, source).find, FilesBelow(root).look
    unusable, seen = dict[str, str](), set[str]()
    for number, path, label in rows:
        start = f"{str(source)!r}, {place.format(number)}"
        try:
            path = inside(find(path), root)
        except ValueError as error:
            raise InvalidInput(f"{start}: {error}") from None
        try:
            check_form(path)
            real = look(path).real
        except OSError as error:
            unusable[path] = f"{start}: {path[:200]!r}: {error.strerror}"
        except ValueError as error:
            unusable[path] = f"{start}: {error}"
        else:
            if real in seen:
                raise InvalidInput(f"{start}: {path[:200]!r} is there already")
            seen.add(real)
            found.append((path, label))
    names = known or [str(label) for label in sorted({label for _, label in found if isinstance(label, int)})]
    number_of = {normal(name): number for number, name in enumerate(names)}

    counts = listed is not None and not all(map(str.isdecimal, names))

    def numbered(label: int | str) -> int:
        """A number counts the names of classes.txt, unless these are numbers themselves; else it is a name."""
        counted = isinstance(label, int) and (counts or label < 0)
        number = int(label) if counted else number_of.get(normal(str(label)), -1)
        if not 0 <= number < len(names):
            raise InvalidInput(f"{str(source)!r}: label {str(label)[:40]!r} is none of the {len(names)} classes")
        return number

    return Labelled(names, [(path, numbered(label)) for path, label in found], unusable)


COMPARED = 1_000_000_000
"""Bytes of images that are read in search of duplicates."""


def duplicates(train: Images | Listed, test: Images | Listed) -> list[str]:
    """Find test images that are training images too, byte for byte. They do not test a network, which has seen them.

    Files of equal size are compared. If such files have more than :data:`COMPARED` bytes together, no file is compared.

    Args:
        train: the training images.
        test: the test images.

    Returns:
        The paths of the test images; none for images in memory.
    """
    if not (isinstance(train, Listed) and isinstance(test, Listed)):
        return []
    same_size = np.isin(train.sizes, test.sizes), np.isin(test.sizes, train.sizes)
    if sum(int(part.sizes[chosen].sum()) for part, chosen in zip((train, test), same_size, strict=True)) > COMPARED:
        return []

    def digest(part: Listed, image: int) -> bytes:
        return hashlib.sha256(contents(part.root / part.paths[image], COMPARED)).digest()

    seen = {digest(train, int(image)) for image in np.flatnonzero(same_size[0])}
    return [test.paths[image] for image in np.flatnonzero(same_size[1]).tolist() if digest(test, image) in seen]


def _named(root: Path, train: Path, test: Path, K: int) -> list[str] | None:
    """The names of the user's own classes, None for lists without names.

    Raises InvalidInput unless there are K names, and if one of ``train`` and ``test`` is a folder and the other a list:
    a label would not mean the same class in both.
    """
    folders = train.is_dir()
    if folders != test.is_dir():
        kind, other_kind = ("a folder", "a list") if folders else ("a list", "a folder")
        raise InvalidInput(f"{str(train)!r} is {kind} and {str(test)!r} is {other_kind}; give two lists or two folders")
    from_file = None if folders else label_names(root)
    names = class_folders(train) if folders else from_file or names_in(train)
    if names is not None and len(names) != K:
        shown = ", ".join(name[:20] for name in names[:10]) + (", ..." if len(names) > 10 else "")
        source = (
            f"{str(train)!r} has {len(names)} class folders"
            if folders
            else f"{str(root / CLASS_NAMES if from_file else train)!r} has {len(names)} names"
        )
        raise InvalidInput(f"{source} ({shown}), and --classes says {K}; the two numbers must agree")
    return names


def _listed(
    root: Path,
    source: Path,
    K: int,
    use: str,
    list_of_file: dict[str, str],
    names: list[str] | None = None,
    leave_out: Collection[str] = (),
    *,
    untested: bool = False,
) -> Listed:
    """The images of one list, or of a folder that holds one folder per class, with the labels that it has.

    Args:
        root: the folder that paths are relative to, without links.
        source: the list, or the folder.
        K: number of classes.
        use: 'training' or 'test', for errors.
        list_of_file: the list that names each file, for all files so far; those of this list are added.
        names: names of the classes; None for lists without names.
        leave_out: paths of files that are left out.
        untested: whether classes may have no test image.
    """
    name = str(source)
    folders = names is not None and source.is_dir()
    rows, place = (
        (folder_rows(source, root, names or [], leave_out=leave_out), "image {}")
        if folders
        else list_rows(source, named=names is not None, known=names)
    )
    files, number_of = FilesBelow(root), {normal(name): label for label, name in enumerate(names or ())}
    find = finder_of(root, source).find
    # Whether numbers count the names. In a list that has names of its own, a number is one of them.
    places = names is None or os.path.lexists(root / CLASS_NAMES)
    paths: list[str] = []
    labels, sizes, times = (
        array("q"),
        array("q"),
        array("q"),
    )  # 8 bytes per number; lists need forty
    for number, path, row_label in rows:
        try:
            word = row_label if places else str(row_label)
            label = number_of.get(normal(word), row_label) if isinstance(word, str) else row_label
            if isinstance(label, str):
                raise ValueError(f"label {label[:40]!r} is none of the {K} classes' names")
            if not 0 <= label < K:
                hint = f", and {CLASS_NAMES} has {K} names" if names is not None else ""
                raise ValueError(f"label {str(label)[:20]} must lie in 0..{K - 1}: labels count from 0{hint}")
            path = inside(find(path), root)
            if path in leave_out:
                continue
            check_form(path)
            seen = files.look(path)
            if seen.real in list_of_file:
                raise ValueError(f"{path[:200]!r} is there already, in {list_of_file[seen.real]!r}")
        except OSError as error:
            raise InvalidInput(f"{name!r}, {place.format(number)}: {path[:200]!r}: {error.strerror}") from None
        except ValueError as error:
            raise InvalidInput(f"{name!r}, {place.format(number)}: {error}") from None
        list_of_file[seen.real] = name
        paths.append(path)
        labels.append(label)
        sizes.append(seen.size)
        times.append(seen.time)
    label_array = np.frombuffer(labels, dtype=np.int64)
    absent = np.flatnonzero(np.bincount(label_array, minlength=K) == 0)
    # Without a training image nothing of a class is learned. Without a test image its accuracy is unknown, no more.
    if len(absent) and (use == "training" or not untested or len(absent) == K):
        example = absent[0] if names is None else repr(names[absent[0]])
        raise InvalidInput(f"{name!r}: {len(absent)} of {K} classes have no {use} image, such as class {example}")
    return Listed(
        root, tuple(paths), label_array, *(np.frombuffer(column, dtype=np.int64) for column in (sizes, times))
    )
