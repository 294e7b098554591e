"""Lists for training and testing from images in class folders: ``python -m training.split D``. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import remove_remains, write_all
from lpm.console.text import counted, shown
from training.data import decodable, division, groups, lists, untrusted
from training.data.below import images_below, left_out
from training.data.class_folders import class_folders
from training.data.found import CLASS_NAMES, undivided
from training.data.images import MAX_PIXELS
from training.data.names import IMAGES
from training.data.parts import is_divided
from training.data.refusals import lines_of, refuse
from training.data.untrusted import quoted
from training.options import add_max_pixels, first_comparison

LISTS = ("train.txt", "test.txt", CLASS_NAMES)
"""The files that are written into ``D``."""

LEFT_OUT = "left-out.txt"
"""File in ``D`` that names the files which are left out, for their names or by ``--skip-broken``, with the reason of each."""

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
        "training.split",
        "make lists for training and testing from images in one folder per class, or from one list, for --dataset own",
    )
    parser.add_argument(
        "root",
        type=Path,
        metavar="DIR",
        help="holds one folder per class, with images at any depth; or Hugging Face's metadata.csv, metadata.jsonl or parquet "
        "files",
    )
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="list of all images and their labels, in any form that training.train takes",
    )
    parser.add_argument(
        "--test-share", type=float, default=0.2, metavar="X", help="share of each class's images for testing"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed gives other lists")
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="FILE",
        help="table (.csv, .tsv) or 'path group' lines: all images of a group, such as a patient or a burst, are for "
        "training, or all for testing",
    )
    parser.add_argument(
        "--group-column", metavar="NAME", help="column of the table that holds groups (default: group, patient, ...)"
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help=f"leave out files that cannot be used, such as images that do not decode; they are named in {LEFT_OUT}",
    )
    add_max_pixels(parser)
    options = parser.parse_args(arguments)
    root: Path = options.root
    if not os.path.isdir(root):
        raise InvalidInput(f"{str(root)!r} is not a folder")
    existing = [name for name in (*LISTS, LEFT_OUT) if os.path.lexists(root / name)]
    source = undivided(root) if options.list is None else options.list
    if options.list is None and source is not None and is_divided(source, by_column=True):
        raise InvalidInput(f"{str(source)!r} is divided already, by a column such as 'split'; train on it")
    # Some of the lists may be what a killed process left, see below.
    for name in (*(LISTS if {*LISTS} <= {*existing} else ()), *(("train", "test", "val") if source is None else ())):
        if os.path.lexists(root / name):
            other = "" if name in LISTS else "; --list FILE divides a list"
            raise InvalidInput(f"{str(root / name)!r} is there already; train on it, or move it away{other}")
    group_of = None
    if options.groups is not None:
        group_of = groups.read(options.groups, root, column=options.group_column)
    elif options.group_column is not None:
        raise InvalidInput("--group-column names a column of --groups FILE; give that, too")
    skipped: dict[str, str] = {}
    leave_out = skipped.__setitem__ if options.skip_broken else None
    others: dict[str, str] = {}
    names, train, test = split(
        root,
        options.test_share,
        options.seed,
        group_of,
        source=source,
        leave_out=leave_out,
        ignore=others.__setitem__,
        known=options.groups,
        max_pixels=options.max_pixels,
    )
    for text in lines_of(skipped.values(), "left out: "):
        print(shown(text), file=sys.stderr)
    lines = [[f"{path} {label}" for path, label in part] for part in (train, test)]
    contents = {
        name: "".join(f"{line}\n" for line in rows).encode() for name, rows in zip(LISTS, (*lines, names), strict=True)
    }
    if not_used := skipped | others:
        contents[LEFT_OUT] = "".join(f"{shown(path)}\t{shown(why)}\n" for path, why in not_used.items()).encode()
    for name in existing:
        if not _holds(root / name, contents.get(name)):
            raise InvalidInput(
                f"{str(root / name)!r} is there already, and no list of this command; train on it, or move it away"
            )
    remove_remains(root, (*LISTS, LEFT_OUT))
    try:
        # The list for training comes last: with it the lists are complete.
        write_all([(root / name, contents[name]) for name in reversed(contents) if name not in existing])
    except BaseException as error:
        for name in contents:
            if name not in existing:
                (root / name).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InvalidInput(f"{str(root)!r} cannot be written: {error.strerror}") from None
    print(
        f"{len(names)} classes, {counted(len(train), 'image')} for training, {len(test):,} for testing: "
        f"{', '.join(LISTS)} in {shown(root)}"
    )
    if not_used:
        print(f"note: {counted(len(not_used), 'file')} left out, named in {LEFT_OUT}")
    if group_of is not None:
        print(shown(_on_sides(group_of, train, test)))
    if untested := sorted(set(range(len(names))) - {label for _, label in test}):
        why = "one image" if group_of is None else "one group of images"
        print(
            f"note: {shown(_classes([names[label] for label in untested]))} {why}, which is for training, so "
            "accuracies leave it out"
        )
    cli.next_step(first_comparison(root))
    return 0


def _classes(names: list[str]) -> str:
    """The first names of classes, and a verb."""
    if len(names) == 1:
        return f"class {names[0]!r} has"
    return f"{len(names):,} classes ({', '.join(map(repr, names[:5]))}{', ...' * (len(names) > 5)}) have"


def _on_sides(group_of: dict[str, str], train: list[tuple[str, int]], test: list[tuple[str, int]]) -> str:
    """How many groups are on each side, and how large the share of testing is in each class."""
    sides = [len({group_of[path] for path, _ in part if path in group_of}) for part in (train, test)]
    alone = sum(path not in group_of for part in (train, test) for path, _ in part)
    of_class = Counter(label for _, label in test)
    shares = sorted(100 * of_class[k] / n for k, n in Counter(label for _, label in (*train, *test)).items())
    more = f", and {counted(alone, 'image')} without a group" if alone else ""
    return (
        f"{counted(sides[0], 'group')} for training, {sides[1]:,} for testing, none on both sides{more}; "
        f"{shares[0]:.0f} to {shares[-1]:.0f} % of a class's images are for testing"
    )


def _holds(file: Path, content: bytes | None) -> bool:
    """Whether a file is no link and has this content; None is no content."""
    try:
        return content is not None and not file.is_symlink() and untrusted.contents(file, len(content)) == content
    except InvalidInput:
        return False


def split(
    root: Path,
    share: float,
    seed: int,
    group_of: dict[str, str] | None = None,
    *,
    source: Path | None = None,
    leave_out: Callable[[str, str], None] | None = None,
    ignore: Callable[[str, str], object] = lambda path, why: None,
    known: Path | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[list[str], list[tuple[str, int]], list[tuple[str, int]]]:
    """Divide the images in class folders, or of a list, into a training and a test set.

    The share of each class, at least one image and never all, is for testing: the images with the smallest hashes of
    seed and contents. So the result does not depend on names. A single image is for training. Copies of an image in a
    class come into the same set, if that leaves images for both sets.

    A list whose images all lie in folders such as ``train`` and ``test`` is divided by these.

    With groups, whole groups are for testing (:func:`training.data.groups.divide`), and copies of an image join theirs.

    Args:
        root: the folder that holds one folder per class, or the images of the list.
        share: share of each class's images that is for testing, between 0 and 1.
        seed: another seed gives other sets.
        group_of: by path below ``root``, the group of an image; an image that is not there is a group of its own. None
            divides images alone.
        source: the list; None for class folders.
        leave_out: called with the path of each file that cannot be used, and with what is wrong; None refuses all of them
            at once.
        ignore: called with the path of each file that is not named as an image, and with these words.
        known: a file that may lie among the images and is no image, as that of the groups.
        max_pixels: pixels that an image may have.

    Returns:
        The names of the classes, sorted; the training images and the test images, each as (path below ``root``, label).

    Raises:
        InvalidInput: if files cannot be used, among them images that cannot be decoded and images outside class folders;
            several are named on standard error before. If a class has no image, no class could be tested, or as
            :func:`training.data.below.images_below`.
    """
    if not 0 < share < 1:
        raise InvalidInput(f"--test-share {share:g} must lie between 0 and 1")
    found = _in_folders(root, known) if source is None else lists.labelled(root, source)
    for path in found.left_out:
        ignore(path, f"does not end in {', '.join(IMAGES)}")
    names, images = found.names, _hashed(root, seed, found, leave_out, max_pixels)
    if len(names) < 2:
        what = f"class folder{'s' * (len(names) != 1)}" if source is None else "of its classes in the list"
        raise InvalidInput(f"{str(root)!r} holds {len(names)} {what}; it needs at least two")
    labels = [label for label, _, _ in images]
    if absent := sorted(set(range(len(names))) - set(labels)):
        raise InvalidInput(f"class {names[absent[0]]!r} has no image that can be used; remove its folder")
    if source is not None and group_of is None and (by_folder := division.by_folder(images)) is not None:
        tested = by_folder
    elif group_of is None:
        tested = division.ranked(images, share)
    else:
        joined = division.joined(images, group_of)
        tested = groups.divide(labels, joined, share, np.random.default_rng(seed)).tolist()
    rows = [(path, label) for label, _, path in images]
    train, test = ([row for row, side in zip(rows, tested, strict=True) if side == use] for use in (False, True))
    if not test:
        raise InvalidInput(f"no class of {str(root)!r} has two images to divide; there would be nothing to test on")
    return names, sorted(train), sorted(test)


def _in_folders(root: Path, known: Path | None) -> lists.Labelled:
    """The images in class folders; known: a file that is no image."""
    problems, first = list[str](), dict[str, Path]()
    names = class_folders(root, refuse=problems.append)
    problems += [
        f"{quoted(root / name)}: lists cannot hold a name with white space at its ends; rename it"
        for name in names
        if name != name.strip()
    ]
    label, paths = {name: number for number, name in enumerate(names)}, list[tuple[str, int]]()
    unusable: dict[str, str] = {}
    files, others = images_below(root, refuse_file=unusable.__setitem__) if names else ([], [])
    lists_here = (*LISTS, LEFT_OUT)  # some of them may be there, see main
    ignored = [
        path
        for path in others
        if path not in lists_here and (known is None or os.path.realpath(root / path) != os.path.realpath(known))
    ]
    if ignored:
        print(f"note: {shown(left_out(ignored))}", file=sys.stderr)
    for file in files:
        path, real = file.relative_to(root).as_posix(), os.path.realpath(file)
        if first.setdefault(real, file) != file:
            unusable[path] = f"{str(file)!r} and {str(first[real])!r} are one file; remove the link"
        elif "/" not in path:
            unusable[path] = f"{str(file)!r} is in no class folder; move it into one"
        else:
            paths.append((path, label[path.split("/")[0]]))
    return lists.Labelled(names, paths, unusable, problems, ignored)


def _hashed(
    root: Path,
    seed: int,
    found: lists.Labelled,
    leave_out: Callable[[str, str], None] | None,
    max_pixels: int,
) -> list[division.Image]:
    """All images that can be used, each decoded once."""
    paths, unusable = found.images, found.unusable
    refused = {name for name in found.names if not name.isprintable()}  # folders, as all problems are
    for path, _ in paths:
        if not path.isprintable() and path.partition("/")[0] not in refused:
            unusable[path] = (
                f"{quoted(root / path)}: give it a name of printable text in UTF-8; it is quoted as bash reads it"
            )
    real_root = Path(os.path.realpath(root))
    usable = [path for path, _ in paths if path not in unusable]
    cores = len(os.sched_getaffinity(0))
    unusable |= decodable.check(real_root, usable, workers=cores, quiet=False, max_pixels=max_pixels).broken
    if found.problems:
        reasons = (*found.problems, *(() if leave_out else unusable.values()))
        refuse(reasons, f"files and rows of {str(root)!r}", "mend or remove each")
    if leave_out is None:
        remedy = "mend, replace or remove each, or leave them out with --skip-broken"
        refuse(unusable.values(), f"files of {str(root)!r}", remedy)
    else:
        for path, reason in unusable.items():
            leave_out(path, reason)
    images: list[division.Image] = []
    for path, label in paths:
        if path not in unusable:
            digest = hashlib.sha256(f"{seed}\n".encode() + untrusted.contents(root / path, LIMIT)).digest()
            images.append((label, digest, path))
    _note_copies(images)
    return sorted(images)


def _note_copies(images: list[division.Image]) -> None:
    """Say which pictures are in several classes, byte for byte: one of their labels is wrong."""
    copies: defaultdict[bytes, dict[int, str]] = defaultdict(dict)
    for label, digest, path in images:
        copies[digest].setdefault(label, path)
    if several := [list(paths.values()) for paths in copies.values() if len(paths) > 1]:
        number, example = len(several), " and ".join(map(repr, several[0][:2]))
        print(
            f"note: {number:,} picture{' is' if number == 1 else 's are'} in several classes, such as {shown(example)}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(cli.run(main))
