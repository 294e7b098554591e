"""Lists of images as COCO's JSON, which iNaturalist uses too."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from lpm.console.errors import InvalidInput
from lpm.console.text import counted
from training.data.refusals import Refuse, at_once
from training.data.rows import Row
from training.data.untrusted import line

Id = int | str


def json_rows(data: bytes, name: str, refuse: Refuse, *, named: bool, known: Collection[str] | None) -> Iterator[Row]:
    """Read a list.

    Args:
        data: its bytes.
        name: of its file.
        refuse: called with what is wrong for each annotation and each image that cannot be used, which is left out.
        named: whether ``categories`` name the classes.
        known: the names of the classes, if they are known; ``categories`` with other names are not used.

    Yields:
        The rows, as ``images`` has them.

    Raises:
        InvalidInput: if it is no such list.
    """
    content = _content(data, name)
    names = _categories(content, name) if named else {}
    if known is not None and not (set(names.values()) <= set(known) or set(known) <= set(names.values())):
        names = {}
    labels: dict[Id, Id] = {}
    refused = set[Id]()  # images with a wrong annotation, which are not said to have none
    kind: Any = (int, str) if named else int
    for number, entry in _entries(content, "annotations", {"image_id": kind, "category_id": kind}, name, refuse):
        image, label = entry["image_id"], entry["category_id"]
        if names and label not in names:
            refuse(f"{name!r}, annotations[{number}]: categories lack its category_id {str(label)[:20]!r}")
            refused.add(image)
            continue
        label = names.get(label, label)
        if image in labels and (not named or labels[image] != label):
            refuse(f"{name!r}, annotations[{number}]: its image has a label already")
            refused.add(image)
        labels.setdefault(image, label)
    for number, entry in _entries(content, "images", {"id": kind, "file_name": str}, name, refuse):
        if entry["id"] in labels:
            yield Row(number, entry["file_name"], labels.pop(entry["id"]))
        elif entry["id"] not in refused:
            refuse(f"{name!r}, images[{number}]: no annotation is left for its id; each image needs one of its own")
    if labels:
        verb = "belongs" if len(labels) == 1 else "belong"
        refuse(f"{name!r}: {counted(len(labels), 'annotation')} {verb} to images that the list does not have")


def names_of(data: bytes, name: str) -> list[str]:
    """Read the names of the classes.

    Args:
        data: the list's bytes.
        name: of its file.

    Returns:
        The names in ``categories``, in the order of their ids; none without such a list.

    Raises:
        InvalidInput: if it is no such list, or an id or a name occurs twice.
    """
    return list(_categories(_content(data, name), name).values())


def _content(data: bytes, name: str) -> Any:
    try:
        return json.loads(data, object_hook=_needed)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name!r} is not JSON: {line(error)}") from None


def _categories(content: Any, name: str) -> dict[Id, str]:
    """The names in COCO's ``categories`` by their id, in the order of ids; none without such a list."""
    if not isinstance(content, dict) or not content.get("categories"):
        return {}
    found = {
        entry["id"]: entry["name"]
        for _, entry in _entries(content, "categories", {"id": (int, str), "name": str}, name)
    }
    if len(set(found.values())) < len(content["categories"]):
        raise InvalidInput(f"{name!r}: two of its categories have one id or one name")
    return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _needed(entry: dict[str, Any]) -> dict[str, Any]:
    """The entries of a JSON object that are needed. The rest, such as photographers and licences, would fill memory."""
    keys = ("images", "annotations", "categories", "id", "name", "file_name", "image_id", "category_id")
    return {key: entry[key] for key in keys if key in entry}


def _entries(
    content: Any, key: str, types: dict[str, Any], name: str, refuse: Refuse = at_once
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a list of the file that have the fields; a bool is not an integer. The others are refused."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InvalidInput(f"{name!r} has no list {key!r}")
    kinds = {field: kind if isinstance(kind, tuple) else (kind,) for field, kind in types.items()}
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and all(type(entry.get(field)) in kind for field, kind in kinds.items()):
            yield number, entry
        else:
            wanted = " and ".join(f"{field} ({' or '.join(k.__name__ for k in kind)})" for field, kind in kinds.items())
            refuse(f"{name!r}, {key}[{number}]: it needs {wanted}")
