"""Lists for training and testing of images that lie in class folders: ``python -m training.split D``. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import defaultdict
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.data.list_rows import class_folders
from training.data.lists import CLASS_NAMES, images_below, left_out
from training.data.untrusted import contents

LISTS = ("train.txt", "test.txt", CLASS_NAMES)
"""What is written, in ``D``."""

LIMIT = 1_000_000_000
"""Bytes of an image."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = cli.Parser(
        "training.split", "lists for training and testing of images in a folder a class, for --dataset own"
    )
    parser.add_argument(
        "root", type=Path, metavar="DIR", help="holds a folder for each class, images at any depth in it"
    )
    parser.add_argument("--test-share", type=float, default=0.2, metavar="X", help="of each class's images")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another one gives another split")
    options = parser.parse_args(arguments)
    root: Path = options.root
    if not os.path.isdir(root):
        raise InvalidInput(f"{str(root)!r} is not a folder")
    for name in (*LISTS, "train", "test", "val"):
        if os.path.lexists(root / name):
            raise InvalidInput(f"{str(root / name)!r} is there already; training takes it, or move it away")
    names, train, test = split(root, options.test_share, options.seed)
    lines = [[f"{path} {label}" for path, label in part] for part in (train, test)]
    try:
        for name, content in zip(LISTS, (*lines, names), strict=True):
            write(root / name, "".join(f"{line}\n" for line in content).encode())
    except BaseException as error:
        for name in LISTS:
            (root / name).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InvalidInput(f"{str(root)!r} cannot be written: {error.strerror}") from None
    print(
        f"{len(names)} classes, {len(train):,} images for training, {len(test):,} for testing: {', '.join(LISTS)} in {root}"
    )
    return 0


def split(root: Path, share: float, seed: int) -> tuple[list[str], list[tuple[str, int]], list[tuple[str, int]]]:
    """The names of the classes, sorted, and (path below ``root``, label) of the images for training and for testing.

    Of each class the share, at least one image and never all, is for testing: those whose contents have the least hash, with
    the seed. So a split does not depend on names, and copies of an image in a class are on one side, if that leaves both
    sides some.

    Raises InvalidInput for images outside class folders, classes with fewer than two images, and what :func:`images_below`
    refuses.
    """
    if not 0 < share < 1:
        raise InvalidInput(f"--test-share {share:g} must lie between 0 and 1")
    names, first = class_folders(root), dict[str, Path]()
    for name in names:
        if name != name.strip():
            raise InvalidInput(
                f"{str(root / name)!r}: lists cannot tell a name with white space at its ends; rename it"
            )
    label = {name: number for number, name in enumerate(names)}
    images: dict[int, list[tuple[bytes, str]]] = defaultdict(list)
    files, others = images_below(root) if names else ([], 0)
    if others:
        print(f"note: {left_out(others)}", file=sys.stderr)
    for file in files:
        path, real = file.relative_to(root), os.path.realpath(file)
        if first.setdefault(real, file) != file:
            raise InvalidInput(f"{str(file)!r} and {str(first[real])!r} are one file; remove the link")
        if len(path.parts) == 1:
            raise InvalidInput(f"{str(file)!r} lies in no class folder; move it into one")
        if not str(path).isprintable():
            raise InvalidInput(f"{str(file)!r}: give it a name of printable text")
        digest = hashlib.sha256(f"{seed}\n".encode() + contents(file, LIMIT)).digest()
        images[label[path.parts[0]]].append((digest, path.as_posix()))
    if len(names) < 2:
        raise InvalidInput(f"{str(root)!r} holds {len(names)} class folder{'s' * (len(names) != 1)}; two are the least")
    train, test = [], []
    for name, number in label.items():
        own = sorted(images[number])
        if len(own) < 2:
            raise InvalidInput(
                f"class {name!r} has {len(own)} image{'s' * (len(own) != 1)}; one to train on and one to test is the least"
            )
        cuts = [n for n in range(1, len(own)) if own[n][0] != own[n - 1][0]]  # none divides copies of one image
        last = min(cuts or range(1, len(own)), key=lambda n: abs(n - share * len(own)))
        test += [(path, number) for _, path in own[:last]]
        train += [(path, number) for _, path in own[last:]]
    return names, sorted(train), sorted(test)


if __name__ == "__main__":
    sys.exit(cli.run(main))
