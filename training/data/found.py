"""Find the lists of a data set, or the folders with one folder per class, under their usual names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from lpm.console.errors import InvalidInput
from training.catalogue import CATALOGUE, DataSet
from training.data.class_folders import class_folders, class_names, folder_rows
from training.data.list_rows import has_labels, list_rows, names_in
from training.data.names import METADATA, TABLES
from training.data.parquet import SHARDS, files_of, unpacked
from training.data.parts import is_divided
from training.data.refusals import Refuse, at_once
from training.data.untrusted import without_links

Part = Literal["train", "test"]

CLASS_NAMES = "classes.txt"
"""File under the root with the names of a list's labels, one per line, for the user's own data. It may be missing."""


def source_of(row: DataSet, root: Path, given: Path | None, part: Part) -> Path:
    """Find the list of training or test images, or the folder: the given one, or one with a usual name.

    Args:
        row: the data set's row of the catalogue.
        root: the folder that paths are relative to.
        given: the list or folder that the user names; None for a usual one.
        part: which images.

    Returns:
        The list or folder. Parquet files are unpacked, and their list is returned.

    Raises:
        InvalidInput: if there is none, or it is a link that leaves ``root``.
    """
    if given is not None:
        return unpacked(root, [given]) if row.user_named and given.suffix.lower() in SHARDS else given
    if (found := usual_source(row, root, part)) is not None:
        return found
    assert row.lists is not None
    names = getattr(row.lists, part)
    hint = "; `python -m training.split` makes lists from one folder per class" if row.user_named else ""
    raise InvalidInput(
        f"--data-root {str(root)!r} holds no {' or '.join(names)}; say where it is with --{part}-list{hint}"
    )


def usual_source(row: DataSet, root: Path, part: Part) -> Path | None:
    """Find the list of training or test images under a usual name, or the folder.

    A folder holds one folder per class, or Hugging Face's list. Tables and parquet files come last.

    Args:
        row: the data set's row of the catalogue.
        root: the folder.
        part: which images.

    Returns:
        The list or folder; None without one.

    Raises:
        InvalidInput: if it is a link that leaves ``root``, or as :func:`training.data.parquet.unpacked`.
    """
    assert row.lists is not None
    names, without_classes = getattr(row.lists, part), None
    for name in names:
        path = root / name
        if not os.path.lexists(path):
            continue
        if _leaves(root, name):
            advice = without_links(root) if path.is_dir() else f"give it with --{part}-list"
            raise InvalidInput(f"{str(path)!r} is a link that leaves --data-root; {advice}")
        if not path.is_dir():
            return path
        has_classes = _has_folders(path)
        for metadata in (path / name for name in METADATA if (path / name).is_file()):
            if not has_classes or has_labels(metadata):
                return metadata
        if has_classes:
            return path
        without_classes = without_classes or path
    if row.user_named:
        stems = [name for name in names if "." not in name]
        for stem in stems:
            for ending in TABLES:
                if os.path.isfile(root / f"{stem}{ending}"):
                    return root / f"{stem}{ending}"
        if files := files_of(root, stems):
            return unpacked(root, files)
        for metadata in (root / name for name in METADATA if (root / name).is_file()):
            if is_divided(metadata):
                return metadata
    return without_classes


def undivided(root: Path) -> Path | None:
    """Find a list of all images, which are not divided into training and test images: Hugging Face's, or parquet files.

    Args:
        root: the folder.

    Returns:
        The list; None without one.

    Raises:
        InvalidInput: if there are parquet files for testing, too, or as :func:`training.data.parquet.unpacked`.
    """
    for metadata in (root / name for name in METADATA if os.path.lexists(root / name)):
        return metadata
    lists_of_tests = CATALOGUE["own"].lists
    assert lists_of_tests is not None
    # One data set of datasets.save_to_disk lies in the folder itself.
    if not (files := files_of(root, ("train", "*")) or sorted(root.glob("data-*.arrow"))):
        return None
    if tests := files_of(root, [name for name in lists_of_tests.test if "." not in name]):
        raise InvalidInput(f"{str(root)!r} is divided already, with test images in {str(tests[0])!r}; train on it")
    return unpacked(root, files)


def number_of_classes(root: Path, train_list: Path | None) -> int:
    """Count the classes of the user's own data.

    Args:
        root: the folder that paths are relative to.
        train_list: the list of training images, or a folder with one folder per class; by default as in :func:`load`.

    Returns:
        The number of class folders for training, or of names in ``root/classes.txt`` or in the list; 0 for lists
        without names.

    Raises:
        InvalidInput: if the root, the list or a folder is missing.
    """
    if not root.is_dir():
        raise InvalidInput(f"--data-root {str(root)!r} is not a folder")
    source = source_of(CATALOGUE["own"], root, train_list, "train")
    # Names and rows that cannot be used are refused when the data are loaded, all at once.
    skip = _ignore
    if source.is_dir():
        return len(class_folders(source, refuse=skip))
    return len(label_names(root, refuse=skip) or names_in(source, root=root, refuse=skip) or ())


def number_of_images(root: Path, train_list: Path | None) -> int:
    """Count the training images of the user's own data by their names, whether or not they can be used.

    Args:
        root: the folder that paths are relative to.
        train_list: as for :func:`number_of_classes`.

    Returns:
        The number of images in the class folders for training, or in the list.

    Raises:
        InvalidInput: if the list or a folder is missing, or the list cannot be read.
    """
    source = source_of(CATALOGUE["own"], root, train_list, "train")
    if not source.is_dir():
        return len({row.path for row in list_rows(source, root=root, named=True, refuse=_ignore)[0]})
    real, names = Path(os.path.realpath(root)), class_folders(source, refuse=_ignore)
    return sum(1 for _ in folder_rows(source, real, names, refuse=_ignore, refuse_file=lambda *file: None))


def _ignore(reason: str) -> None:
    """Leave out what cannot be used."""


def _has_folders(path: Path) -> bool:
    """Whether a folder holds folders."""
    try:
        return any((path / name).is_dir() for name in os.listdir(path))
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}") from None


def _leaves(root: Path, name: str) -> bool:
    """Whether a file is a link that leaves the root."""
    # Not Path.resolve, which up to Python 3.12 raises RuntimeError for a link to itself.
    return not Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root))


def label_names(root: Path, *, refuse: Refuse = at_once) -> list[str] | None:
    """Read the names of labels in ``classes.txt``.

    Args:
        root: the folder that holds it.
        refuse: as in :func:`training.data.class_folders.class_names`.

    Returns:
        The names; None without that file.

    Raises:
        InvalidInput: if it is a link that leaves ``root``, or cannot be used.
    """
    if not os.path.lexists(root / CLASS_NAMES):
        return None
    if _leaves(root, CLASS_NAMES):
        raise InvalidInput(f"{str(root / CLASS_NAMES)!r} is a link that leaves --data-root; put a copy in its place")
    return class_names(root / CLASS_NAMES, refuse=refuse)
