"""Shards beside parquet files: Arrow files of ``datasets.save_to_disk``, and tar files as WebDataset writes them.

Both are read from the beginning to the end, once. They come from elsewhere: no path in a file is used, and what is read of a file
is bounded by its size.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from lpm.console.errors import InvalidInput, install
from training.data.names import IMAGES

NOTE_LIMIT = 1_000_000
"""Bytes that the label of an image may have in a tar file."""

Label = int | str
"""A label as a shard has it: a number, or a name."""


def arrow_table(file: BinaryIO) -> Any:
    """Open an Arrow file.

    Args:
        file: the file, in Arrow's streaming format or its file format.

    Returns:
        pyarrow's reader: it has a schema, and iterates over batches of rows.

    Raises:
        InvalidInput: if pyarrow is missing.
        ValueError: if the file is compressed: a small one could unpack to any size.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise InvalidInput(f"Arrow files need the package pyarrow; {install('train')}") from None
    in_stream = file.read(6) != b"ARROW1"
    file.seek(0 if in_stream else 8)  # behind its first bytes the file format has the same messages
    for message in pa.ipc.MessageReader.open_stream(file):
        if message.type in ("record batch", "dictionary") and _compressed(message):
            raise ValueError("it is compressed; save it without compression, as datasets does")
    file.seek(0)
    if in_stream:
        return pa.ipc.open_stream(file)
    reader = pa.ipc.open_file(file)
    batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    return pa.RecordBatchReader.from_batches(reader.schema, batches)


def _compressed(message: Any) -> bool:
    """Whether the buffers of a message are compressed, which pyarrow does not tell: its header has a field for it."""
    data = message.metadata.to_pybytes()

    def field(table: int, number: int) -> int:
        """Where a field of a FlatBuffers table is; 0 if it is absent."""
        layout = table - int.from_bytes(data[table : table + 4], "little", signed=True)
        if 4 + 2 * number >= int.from_bytes(data[layout : layout + 2], "little"):
            return 0
        place = layout + 4 + 2 * number
        offset = int.from_bytes(data[place : place + 2], "little")
        return table + offset if offset else 0

    def follow(place: int) -> int:
        return place + int.from_bytes(data[place : place + 4], "little")

    header = follow(field(follow(0), 2))
    if message.type == "dictionary":
        header = follow(field(header, 1))
    return bool(field(header, 3))


def tar_rows(file: BinaryIO, limit: int) -> Iterator[tuple[bytes, Label]]:
    """Read the images of a tar file. Members of one sample follow each other and have one name, up to its first dot.

    The label is the member ``.cls`` (a number or a name), or ``label`` or ``cls`` of the member ``.json``.

    Args:
        file: the file, not compressed.
        limit: bytes that an image may have.

    Yields:
        The bytes of each image, and its label.

    Raises:
        ValueError: if a sample lacks an image or a label, has two images, or is too large; or the file is cut short, or has
            members with holes.
    """
    # An archive ends with two empty blocks. One that is cut between two members would lose images in silence.
    size = file.seek(0, 2)
    file.seek(max(0, size - 1024))
    if file.read() != bytes(1024):
        raise ValueError("it is cut short, compressed, or no tar file")
    file.seek(0)
    sample, key = dict[str, bytes](), None
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            # Python fills holes with zeros, so a small file would have any size. A negative size would lead back.
            if member.issparse() or member.size < 0:
                raise ValueError(f"member {member.name[:80]!r} has holes, as no image has; pack it without --sparse")
            if not member.isfile():
                continue
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            if not stem:  # hidden, as those that macOS adds
                continue
            if (folder, stem) != key and sample:
                yield _sample(sample, key)
                sample = {}
            key, ending = (folder, stem), ending.lower()
            if f".{ending.rpartition('.')[2]}" in IMAGES or ending in ("cls", "json"):
                if member.size > (limit if ending not in ("cls", "json") else NOTE_LIMIT):
                    raise ValueError(f"member {member.name[:80]!r} has {member.size:,} bytes")
                content = tar.extractfile(member)
                assert content is not None
                if ending in sample:
                    raise ValueError(f"member {member.name[:80]!r} is there twice")
                sample[ending] = content.read()
    if sample:
        yield _sample(sample, key)


def _sample(members: dict[str, bytes], key: tuple[str, str] | None) -> tuple[bytes, Label]:
    images = [data for ending, data in members.items() if ending not in ("cls", "json")]
    label = _label(members)
    if len(images) != 1 or label is None:
        name = "/".join(key or ())[:80]
        raise ValueError(f"sample {name!r} needs one image, and a label in .cls or .json")
    return images[0], label


def _label(members: dict[str, bytes]) -> Label | None:
    """The label of a sample; None without one."""
    if "cls" in members:
        word = members["cls"].decode().strip()
        return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else word or None
    if "json" not in members:
        return None
    content = json.loads(members["json"])
    found = (
        next((content[name] for name in ("label", "cls") if name in content), None)
        if isinstance(content, dict)
        else None
    )
    return found if type(found) in (int, str) else None
