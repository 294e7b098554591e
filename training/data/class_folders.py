"""One folder per class: the images in it, and the names of classes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from lpm.console.errors import InvalidInput
from training.data.names import IMAGES, METADATA, hidden, name_problem, normal
from training.data.refusals import Refuse, RefuseFile, at_once, file_at_once
from training.data.rows import Row
from training.data.untrusted import contents, quoted, without_links

NAMES_LIMIT = 20_000_000
"""Bytes that a file with the names of classes may have."""


def class_folders(train: Path, *, refuse: Refuse = at_once) -> list[str]:
    """List the class folders for training.

    Args:
        train: the folder that holds one folder per class.
        refuse: called with what is wrong for each name that results cannot show, and for each of two that look the same; by
            default it raises InvalidInput.

    Returns:
        Their names, sorted.

    Raises:
        InvalidInput: if the folder cannot be read.
    """
    names, first = [name for name in names_below(train) if (train / name).is_dir()], dict[str, str]()
    for name in names:
        if problem := name_problem(name):
            refuse(f"{quoted(train / name)}: {problem}")
        if first.setdefault(normal(name), name) != name:
            refuse(
                f"{str(train)!r} has two class folders that look the same, {first[normal(name)]!a} and {name!a}; "
                "rename or merge them"
            )
    return names


def class_names(file: Path, *, refuse: Refuse = at_once) -> list[str]:
    """Read the names of the labels 0, 1, ... of a list, one per line.

    Args:
        file: text in UTF-8.
        refuse: called with what is wrong for each name that results cannot show, or that occurs twice; by default it raises
            InvalidInput.

    Returns:
        The names.

    Raises:
        InvalidInput: if the file cannot be read.
    """
    try:
        text = contents(file, NAMES_LIMIT).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"{str(file)!r} is not text in UTF-8") from None
    names = [name.strip() for name in text.rstrip().split("\n")]
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if problem := name_problem(name):
            refuse(f"{str(file)!r}, line {number}: {problem}")
        elif first.setdefault(name, number) != number:
            refuse(f"{str(file)!r}, line {number}: {name!r} is the name of line {first[name]} already")
    return names


def names_below(folder: Path) -> list[str]:
    """List a folder.

    Args:
        folder: the folder.

    Returns:
        The names in it, sorted, without hidden ones.

    Raises:
        InvalidInput: if it cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not hidden(name))
    except OSError as error:
        raise InvalidInput(f"{str(folder)!r} cannot be read: {error.strerror}") from None


def folder_rows(
    source: Path,
    root: Path,
    names: list[str],
    *,
    leave_out: Collection[str] = (),
    refuse: Refuse = at_once,
    refuse_file: RefuseFile = file_at_once,
) -> Iterator[Row]:
    """Iterate over the images in class folders; other files are refused, not left out.

    Args:
        source: the folder that holds one folder per class.
        root: the folder that paths are relative to, without links.
        names: of the classes; the position of a name is its label.
        leave_out: paths of files that are left out.
        refuse: called with what is wrong for each folder that should not be there; by default it raises InvalidInput.
        refuse_file: called with the path of each file that is not named as an image, or is in no class folder, and with what is
            wrong; by default it raises InvalidInput.

    Yields:
        The images, class after class, sorted by name.

    Raises:
        InvalidInput: if a folder is outside the root, cannot be read or is no class's, or a file is not named as an
            image.
    """
    labels = {normal(name): label for label, name in enumerate(names)}
    number, within = 0, os.path.relpath(os.path.realpath(source), root)
    if within.startswith(".."):
        common = os.path.commonpath([root, os.path.realpath(source)])
        raise InvalidInput(
            f"{str(source)!r} lies outside --data-root; give one that holds all images, such as {common!r}, and "
            "--train-list and --test-list"
        )
    for name in names_below(source):
        if name in METADATA:  # without labels, or it would be read instead of the folders
            continue
        folder, path = source / name, f"{within}/{name}"
        if path in leave_out:
            continue
        if folder.is_file() and not folder.is_symlink():
            refuse_file(path, f"{str(folder)!r} is not a folder; {str(source)!r} should hold one folder per class")
            continue
        problem = ""
        if os.path.relpath(os.path.realpath(folder), root).startswith(".."):
            problem = f"{str(folder)!r} is a link that leaves --data-root; {without_links(root)}"
        elif not folder.is_dir():
            problem = f"{str(folder)!r} is not a folder; {str(source)!r} should hold one folder per class"
        elif normal(name) not in labels:
            problem = f"{str(folder)!r}: there is no such class folder for training; remove it"
        if problem:
            refuse(problem)
            continue
        for file in names_below(folder):
            path = f"{within}/{name}/{file}"
            if path in leave_out:
                continue
            if (folder / file).is_dir():
                refuse(f"{str(folder / file)!r} is a folder; images lie directly in their class folder; or use lists")
            elif not file.lower().endswith(IMAGES):
                refuse_file(
                    path,
                    f"{str(folder / file)!r} is not named as an image ({', '.join(IMAGES)}); convert it or move it away",
                )
            else:
                yield Row(number, path, labels[normal(name)])
                number += 1
