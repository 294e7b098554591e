"""Find an image that a list names, where the list does not spell its path as the disk does.

Tables and COCO's JSON may leave off endings and folders. A letter such as é may be one character or two (Unicode's forms
NFC and NFD): macOS writes two, other systems one, and both look the same.
"""

from __future__ import annotations

import os
from collections import defaultdict
from functools import cache
from pathlib import Path

from training.data.names import IMAGES, METADATA, TABLES, normal


def finder_of(root: Path, source: Path) -> Finder:
    """Make what finds the images of a list.

    Args:
        root: the folder that paths are relative to.
        source: the list. Hugging Face's has paths relative to its own folder.

    Returns:
        The finder.
    """
    root = Path(os.path.realpath(root))
    within = os.path.relpath(os.path.realpath(source.parent), root) if source.name in METADATA else "."
    table = source.suffix.lower() in (*TABLES, ".json")
    return Finder(root, table=table, within="" if within.startswith(".") else within)


class Finder:
    """Finds images below a folder.

    Args:
        root: the folder.
        table: whether endings and folders may be left off.
        within: a folder below it, in which images are looked for first.
    """

    def __init__(self, root: Path, *, table: bool, within: str = "") -> None:
        self.root, self.table, self.within = str(root), table, within
        self.inner = Finder(root, table=False) if within else None
        self.names = cache(self._names)
        self.below = cache(self._below)

    def find(self, path: str) -> str:
        """Find an image.

        Args:
            path: as a list names it, relative to the folder.

        Returns:
            Its path on the disk; ``path`` itself where there is no such image.

        Raises:
            ValueError: if several images may be meant.
        """
        if self.inner is not None and "\0" not in path:
            found = self.inner.find(f"{self.within}/{path}")
            if self._exists(found):
                return found
        usual = path.isascii() and "\\" not in path and not self.table
        if "\0" in path or usual or self._exists(path):
            return path
        if "\\" in path and self._exists(posix := path.replace("\\", "/")):  # as Windows writes it
            return posix
        if not path.isascii() and (spelled := self._in_other_form(path)) is not None:
            return spelled
        for ending in (*IMAGES, *map(str.upper, IMAGES)) if self.table else ():
            if self._exists(path + ending):
                return path + ending
        return path if "/" in path or not self.table else _only(self.below()[normal(path)], path) or path

    def finds(self, path: str) -> bool:
        """Tell whether an image is there.

        Args:
            path: as in :meth:`find`.

        Returns:
            Whether it, or several that may be meant, are there.
        """
        try:
            path = self.find(path)
        except ValueError:
            return True
        return bool(path) and "\0" not in path and self._exists(path)

    def _exists(self, path: str) -> bool:
        return os.path.lexists(os.path.join(self.root, path))

    def _in_other_form(self, path: str) -> str | None:
        """The path with each part spelled as on the disk; None where there is no such file."""
        folder = ""
        for part in path.split("/"):
            inside = os.path.join(self.root, folder)
            name = (
                part if os.path.lexists(os.path.join(inside, part)) else _only(self.names(inside)[normal(part)], path)
            )
            if name is None:
                return None
            folder = f"{folder}/{name}" if folder else name
        return folder

    def _names(self, folder: str) -> defaultdict[str, list[str]]:
        """The names in a folder by their NFC; in a table an image also by its name without ending."""
        names: defaultdict[str, list[str]] = defaultdict(list)
        try:
            entries = os.listdir(folder)
        except OSError:
            return names
        for name in entries:
            names[normal(name)].append(name)
            stem, ending = os.path.splitext(name)
            if self.table and ending.lower() in IMAGES:
                names[normal(stem)].append(name)
        return names

    def _below(self) -> defaultdict[str, list[str]]:
        """All images by the NFC of their name, with and without ending."""
        images: defaultdict[str, list[str]] = defaultdict(list)
        for folder, _, names in os.walk(self.root):
            for name in names:
                stem, ending = os.path.splitext(name)
                if ending.lower() in IMAGES:
                    path = os.path.relpath(os.path.join(folder, name), self.root)
                    for word in (stem, name):
                        images[normal(word)].append(path)
        return images


def _only(matches: list[str], path: str) -> str | None:
    """The only match, None without one. Raises ValueError for several."""
    if len(matches) > 1:
        raise ValueError(
            f"{path[:200]!r} is {matches[0][:80]!a} or {matches[1][:80]!a}; name the folder, too, or rename one"
        )
    return matches[0] if matches else None
