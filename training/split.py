"""Lists for training and testing from images in class folders: ``python -m training.split D``. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import defaultdict
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import remove_remains, write_all
from lpm.console.text import shown
from training.data import untrusted
from training.data.list_rows import class_folders
from training.data.lists import CLASS_NAMES, images_below, left_out

LISTS = ("train.txt", "test.txt", CLASS_NAMES)
"""The files that are written into ``D``."""

LIMIT = 1_000_000_000
"""Bytes that an image may have."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if the folder or an image cannot be used, or a list is there already. Lists that a killed process
            left are completed, unless the images have changed meanwhile.
    """
    parser = cli.Parser(
        "training.split", "make lists for training and testing from images in one folder per class, for --dataset own"
    )
    parser.add_argument("root", type=Path, metavar="DIR", help="holds one folder per class, with images at any depth")
    parser.add_argument(
        "--test-share", type=float, default=0.2, metavar="X", help="share of each class's images for testing"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed gives other lists")
    options = parser.parse_args(arguments)
    root: Path = options.root
    if not os.path.isdir(root):
        raise InvalidInput(f"{str(root)!r} is not a folder")
    existing = [name for name in LISTS if os.path.lexists(root / name)]
    # Some of the lists may be what a killed process left, see below.
    for name in (*(LISTS if len(existing) == len(LISTS) else ()), "train", "test", "val"):
        if os.path.lexists(root / name):
            raise InvalidInput(f"{str(root / name)!r} is there already; train on it, or move it away")
    names, train, test = split(root, options.test_share, options.seed)
    lines = [[f"{path} {label}" for path, label in part] for part in (train, test)]
    contents = {
        name: "".join(f"{line}\n" for line in rows).encode() for name, rows in zip(LISTS, (*lines, names), strict=True)
    }
    for name in existing:
        if not _holds(root / name, contents[name]):
            raise InvalidInput(
                f"{str(root / name)!r} is there already, and no list of this command; train on it, or move it away"
            )
    remove_remains(root, LISTS)
    try:
        # The list for training comes last: with it the lists are complete.
        write_all([(root / name, contents[name]) for name in reversed(LISTS) if name not in existing])
    except BaseException as error:
        for name in LISTS:
            if name not in existing:
                (root / name).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InvalidInput(f"{str(root)!r} cannot be written: {error.strerror}") from None
    print(
        f"{len(names)} classes, {len(train):,} images for training, {len(test):,} for testing: "
        f"{', '.join(LISTS)} in {shown(root)}"
    )
    return 0


def _holds(file: Path, content: bytes) -> bool:
    """Whether a file is no link and has this content."""
    try:
        return not file.is_symlink() and untrusted.contents(file, len(content)) == content
    except InvalidInput:
        return False


def split(root: Path, share: float, seed: int) -> tuple[list[str], list[tuple[str, int]], list[tuple[str, int]]]:
    """Divide the images in class folders into a training and a test set.

    The share of each class, at least one image and never all, is for testing: the images with the smallest hashes of
    seed and contents. So the result does not depend on names. Copies of an image in a class come into the same set, if
    that leaves images for both sets.

    Args:
        root: the folder that holds one folder per class.
        share: share of each class's images that is for testing, between 0 and 1.
        seed: another seed gives other sets.

    Returns:
        The names of the classes, sorted; the training images and the test images, each as (path below ``root``, label).

    Raises:
        InvalidInput: if images are outside class folders, a class has fewer than two images, or as
            :func:`training.data.lists.images_below`.
    """
    if not 0 < share < 1:
        raise InvalidInput(f"--test-share {share:g} must lie between 0 and 1")
    names, first = class_folders(root), dict[str, Path]()
    for name in names:
        if name != name.strip():
            raise InvalidInput(
                f"{str(root / name)!r}: lists cannot hold a name with white space at its ends; rename it"
            )
    label = {name: number for number, name in enumerate(names)}
    images: dict[int, list[tuple[bytes, str]]] = defaultdict(list)
    files, ignored = images_below(root) if names else ([], 0)
    ignored -= sum(os.path.lexists(root / name) for name in LISTS)  # half of them may be there, see main
    if ignored > 0:
        print(f"note: {shown(left_out(ignored))}", file=sys.stderr)
    for file in files:
        path, real = file.relative_to(root), os.path.realpath(file)
        if first.setdefault(real, file) != file:
            raise InvalidInput(f"{str(file)!r} and {str(first[real])!r} are one file; remove the link")
        if len(path.parts) == 1:
            raise InvalidInput(f"{str(file)!r} is in no class folder; move it into one")
        if not str(path).isprintable():
            raise InvalidInput(f"{str(file)!r}: give it a name of printable text")
        digest = hashlib.sha256(f"{seed}\n".encode() + untrusted.contents(file, LIMIT)).digest()
        images[label[path.parts[0]]].append((digest, path.as_posix()))
    if len(names) < 2:
        raise InvalidInput(
            f"{str(root)!r} holds {len(names)} class folder{'s' * (len(names) != 1)}; it needs at least two"
        )
    train, test = [], []
    for name, number in label.items():
        ranked = sorted(images[number])  # by hash
        if len(ranked) < 2:
            raise InvalidInput(
                f"class {name!r} has {len(ranked)} image{'s' * (len(ranked) != 1)}; "
                "it needs at least one to train and one to test"
            )
        # No cut divides copies of one image, whose hashes are equal.
        cuts = [n for n in range(1, len(ranked)) if ranked[n][0] != ranked[n - 1][0]]
        last = min(cuts or range(1, len(ranked)), key=lambda n: abs(n - share * len(ranked)))
        test += [(path, number) for _, path in ranked[:last]]
        train += [(path, number) for _, path in ranked[last:]]
    return names, sorted(train), sorted(test)


if __name__ == "__main__":
    sys.exit(cli.run(main))
