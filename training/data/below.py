"""Image files below a folder: paths that a list names, and all that are there.

Paths come from elsewhere. None leads out of the folder, neither by its words nor by a link.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lpm.console.errors import InvalidInput
from training.data.names import IMAGES, NO_IMAGES, hidden
from training.data.refusals import RefuseFile, file_at_once
from training.data.untrusted import quoted, without_links


def inside(path: str, root: Path) -> str:
    """Normalise a path of a list.

    Args:
        path: as the list has it, relative to the root, or absolute and inside it.
        root: the folder, without links.

    Returns:
        The path, relative to the root.

    Raises:
        ValueError: if it is outside, has '..', or is not UTF-8.
    """
    path = path.removeprefix(f"{root}/")
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path[:200]!r} must be relative to --data-root, without '..'")
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:  # bytes of another encoding, which Python keeps as half a surrogate pair
            raise ValueError(f"{quoted(path)} has a name that is not UTF-8, as bash writes it; rename it") from None
    return posixpath.normpath(path)


def check_form(path: str) -> None:
    """Check that a decoder may read a file.

    Args:
        path: the file.

    Raises:
        ValueError: if its name says that none does.
    """
    if path.lower().endswith(NO_IMAGES):
        raise ValueError(f"{path[:200]!r} cannot be decoded; convert it to one of {', '.join(IMAGES)}")


class Seen(NamedTuple):
    """A regular file below a root.

    Attributes:
        size: in bytes.
        time: of its last change, in nanoseconds.
        real: its path below the root when links are followed.
    """

    size: int
    time: int
    real: str


class FilesBelow:
    """The files of a root. Each folder is resolved once: a million images lie in some thousands of folders.

    Args:
        root: the folder, without links.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.within = str(root), os.path.join(root, "")
        self.folders: dict[str, str] = {}

    def look(self, path: str) -> Seen:
        """Look at a file.

        Args:
            path: relative to the root.

        Returns:
            What is there.

        Raises:
            OSError: if it is missing.
            ValueError: if it is no regular file, or lies behind a link that leaves the root.
        """
        folder, _, name = path.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = self._resolved(folder, path)
        real = f"{self.folders[folder]}/{name}"
        status = os.lstat(real)
        if stat.S_ISLNK(status.st_mode):
            real = self._resolved(path, path)
            status = os.lstat(real)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path[:200]!r} is not a regular file")
        inside = real[len(self.within) :]
        real = path if inside == path else inside  # one string in memory, not two equal ones
        return Seen(status.st_size, status.st_mtime_ns, real)

    def _resolved(self, part: str, path: str) -> str:
        real = os.path.realpath(os.path.join(self.root, part), strict=True)
        if not (real + "/").startswith(self.within):
            raise ValueError(
                f"{path[:200]!r} is or lies behind a link that leaves --data-root; {without_links(self.root)}"
            )
        return real


NAMED = 5
"""Files that a note names."""


def left_out(names: Sequence[str]) -> str:
    """Write a note on files that are not named as images.

    Args:
        names: the files, at least one.

    Returns:
        One sentence without a full stop, which names the first :data:`NAMED` files.
    """
    number = len(names)
    start = "1 file is left out" if number == 1 else f"{number:,} files are left out"
    more = f" and {number - NAMED:,} more" if number > NAMED else ""
    does = "does" if number == 1 else "do"
    return f"{start}: {', '.join(map(repr, names[:NAMED]))}{more} {does} not end in {', '.join(IMAGES)}"


def images_below(folder: Path, *, refuse_file: RefuseFile = file_at_once) -> tuple[list[Path], list[str]]:
    """Find the images in a folder, at any depth.

    Args:
        folder: the folder; hidden files and folders in it are skipped.
        refuse_file: called with the path below ``folder`` of each file that cannot be used, and with what is wrong; by
            default it raises InvalidInput.

    Returns:
        The images, folder after folder, each sorted by name; and the paths of other files below ``folder``.

    Raises:
        InvalidInput: if there is no image, a folder cannot be read or is a link, or a file is a link that leaves
            ``folder``.
    """
    root = Path(os.path.realpath(folder))
    files, images, other_files = FilesBelow(root), list[Path](), list[str]()
    for parent, folders, names in os.walk(root, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not hidden(name))  # os.walk goes into these
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                raise InvalidInput(
                    f"{os.path.join(parent, name)!r} is a link to a folder, which is not followed; {without_links(folder)}"
                )
        for name in sorted(name for name in names if not hidden(name)):
            path = os.path.relpath(os.path.join(parent, name), root)
            if not name.lower().endswith(IMAGES):
                other_files.append(path)
            else:
                try:
                    files.look(path)
                except OSError as error:
                    refuse_file(path, f"{str(folder / path)!r}: {error.strerror}")
                except ValueError as error:
                    refuse_file(path, f"{str(folder)!r}: {error}")
                else:
                    images.append(folder / path)
    if not images:
        packed = any(".tar." in name or name.endswith((".tgz", ".zip")) for name in other_files)
        remedy = "; unpack its archives first (a tar of images is read if it is not compressed)" * packed
        raise InvalidInput(f"{str(folder)!r} holds no image; names of images end in {', '.join(IMAGES)}{remedy}")
    return images, other_files


def _unreadable(error: OSError) -> None:
    raise InvalidInput(f"{str(error.filename)!r} cannot be read: {error.strerror}")
