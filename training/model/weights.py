"""Pretrained weights from a file, in the forms that people have.

A file may hold more than a network: an optimizer, options, a second network. So the network is looked for: in every
dictionary of the file, below every prefix. Nothing of a file is executed. An object beside the weights, such as the
options of a training script, becomes an empty stand-in.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.data.untrusted import contents, line
from training.model.backbones import Other
from training.model.imagenet_resnets import Bottlenecks

LIMIT = 1_000_000_000
"""Bytes that a file of weights may have; ResNet-152's has 241 million."""

PICKLED = (".pth", ".pt", ".tar", ".ckpt", ".bin")
"""Endings of files that torch.save writes; '.tar' is that of '.pth.tar'."""

IN_ORDER = {"0": "conv1", "1": "bn1", **{str(stage + 3): f"layer{stage}" for stage in (1, 2, 3, 4)}}
"""Names of the parts of a network that was wrapped as a sequence, as SimCLR and lightly do: convolution, norm, ReLU, pooling,
and four stages.
"""

ANCHOR = "layer1.0.conv2.weight"
"""A key that every network of this project has. What stands before it in a file is the prefix of all keys."""

AVERAGED = re.compile(r"encoder_k|momentum|ema|teacher|target")
"""Names of a second network that follows the trained one, as in MoCo; the trained one is taken."""

DICTIONARIES, PREFIXES, OBJECTS = 200, 20, 30
"""How many dictionaries of a file, prefixes of a dictionary, and kinds of objects beside the weights are looked at."""


class Place(NamedTuple):
    """A place in a file where a network may be.

    Attributes:
        name: the keys that lead to it, and the prefix there, joined by dots.
        tensors: its content without the prefix, by the network's keys.
    """

    name: str
    tensors: dict[str, Any]


class Inert:
    """Stands for an object of NumPy's, such as a stored accuracy; it keeps nothing.

    Args:
        *args: what the file would make the object of; dropped.
    """

    def __init__(self, *args: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class InertOptions:
    """Stands for any other object, such as a Namespace of options: an empty dictionary, which a file may fill."""

    def __new__(cls, *args: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """Make the dictionary.

        Args:
            *args: what the file would make the object of; dropped.

        Returns:
            The dictionary; torch's unpickler fills no other class.
        """
        return OrderedDict()


def load_weights(network: Bottlenecks | Other, path: Path) -> str:
    """Set a network's weights to those of a file.

    Keys are torchvision's, which timm has too. They may have a prefix such as 'module.' or 'backbone.', and may be in
    any dictionary of the file, such as 'state_dict'. Other parts of the file, such as a classifier, are ignored. With
    trains = 'block' the new block keeps its initialisation, and the file's last block is ignored.

    Args:
        network: the network; of one of others, its body; unchanged if the file is refused.
        path: a file that torch.save wrote, or a .safetensors file.

    Returns:
        The file's SHA-256.

    Raises:
        InvalidInput: if the file is of another kind, asks to run code, holds no such network or two of them, or has a
            tensor of another shape or with values that are not finite.
    """
    tensors, digest = fitting(network, path)
    (network.body if isinstance(network, Other) else network).load_state_dict(tensors, strict=False)
    return digest


def fitting(network: Bottlenecks | Other, path: Path) -> tuple[dict[str, Tensor], str]:
    """Read the weights of a file that are a network's.

    Args:
        network: the network, which may be without memory (on PyTorch's device 'meta'); it stays as it is.
        path: as for :func:`load_weights`.

    Returns:
        The weights by the network's keys, and the file's SHA-256.

    Raises:
        InvalidInput: as :func:`load_weights`.
    """
    if path.suffix not in (*PICKLED, ".safetensors"):
        raise InvalidInput(f"weights {str(path)!r} must be a .pth, .pt, .pth.tar, .ckpt, .bin or .safetensors file")
    target: nn.Module = network.body if isinstance(network, Other) else network
    data = contents(path, LIMIT)
    content = _safetensors(data, path) if path.suffix == ".safetensors" else _pickled(data, path)
    chosen = _chosen(content, target, path, block=network.trains == "block")
    return _checked(chosen, target, path), hashlib.sha256(data).hexdigest()


def weights_hash(path: Path) -> str:
    """Compute the SHA-256 of a file of weights.

    Args:
        path: the file.

    Returns:
        The hash, hexadecimal.

    Raises:
        InvalidInput: if it cannot be read.
    """
    return hashlib.sha256(contents(path, LIMIT)).hexdigest()


def _safetensors(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise InvalidInput(f"weights {str(path)!r} are not a safetensors file: {line(error)}") from None


def _pickled(data: bytes, path: Path) -> dict[Any, Any]:
    """The dictionary that torch.save wrote, without running any code of the file."""
    stand_ins: list[Any] = []
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):  # torch never compresses, but unpacks what is
            size = sum(part.file_size for part in zipfile.ZipFile(io.BytesIO(data)).infolist())
            if size > LIMIT:
                raise ValueError(f"unpacked they have {size:,} bytes; at most {LIMIT:,} are read")
        while True:
            try:
                with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # such as one of an unusual pickle, before its error
                    content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
                break
            except Exception as error:
                name = re.search(r"Unsupported global: GLOBAL (\S+\.\S+) was not", str(error))  # builtins have no dot
                if not name or name[1].startswith("torch.") or len(stand_ins) == OBJECTS:
                    raise
                stand_ins.append((Inert if name[1].startswith("numpy.") else InertOptions, name[1]))
    except Exception as error:  # a corrupt pickle can raise anything; none of it is executed
        raise InvalidInput(f"weights {str(path)!r} must be tensors only: {_reason(error)}") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"weights {str(path)!r} must be a dictionary of tensors by name")
    return content


def _reason(error: Exception) -> str:
    """Why PyTorch did not read a pickle, without its advice to read it unsafely."""
    text = str(error)
    if code := re.search(r"GLOBAL (\S+)", text):
        return f"the file asks to run {line(code[1])}"
    if told := re.search(r"WeightsUnpickler error:\s*(\S.*)", text):
        return line(told[1])
    if "Weights only load failed" in text:
        return "an old or unusual pickle, which is not read; save it again with torch.save"
    return line(error) or type(error).__name__


def _dictionaries(content: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The dictionaries of a file, each with the keys that lead to it; outer ones first."""
    waiting, seen = [("", content)], {id(content)}
    for path, dictionary in waiting:
        yield path, dictionary
        for key, value in dictionary.items():
            # An object may hold itself, so each is visited once.
            if isinstance(key, str) and isinstance(value, dict) and id(value) not in seen and len(seen) < DICTIONARIES:
                seen.add(id(value))
                waiting.append((f"{path}{key}.", value))


def _places(content: Mapping[Any, Any], anchor: str) -> Iterator[Place]:
    """The places in a file where a network may be."""
    for path, dictionary in _dictionaries(content):
        named = {key: value for key, value in dictionary.items() if isinstance(key, str)}
        renamed = {_renamed(key): value for key, value in named.items()}
        for keys in (named, renamed) if renamed.keys() != named.keys() else (named,):
            prefixes = [key.removesuffix(anchor) for key in keys if f".{key}".endswith(f".{anchor}")]
            for prefix in prefixes[:PREFIXES]:
                own = {key.removeprefix(prefix): value for key, value in keys.items() if key.startswith(prefix)}
                yield Place(path + prefix, own)


def _renamed(key: str) -> str:
    """A key of a network that was wrapped as a sequence, as torchvision names it."""
    return re.sub(
        r"^((?:[A-Za-z]\w*\.)*)(\d)\.", lambda found: f"{found[1]}{IN_ORDER.get(found[2], found[2])}.", key, count=1
    )


def _chosen(content: Mapping[Any, Any], network: nn.Module, path: Path, *, block: bool) -> dict[str, Any]:
    """The file's tensors by the network's keys. Raises InvalidInput unless the keys of one place are the network's."""
    ignored = ("layer4.2.",) if block else ()
    wanted = [key for key in network.state_dict() if not (block and key.startswith("block."))]
    # Networks of others have keys of their own; the longest one stands at one place only.
    anchor = ANCHOR if ANCHOR in wanted else max(wanted, key=len)
    needed = {key for key in wanted if not key.endswith("num_batches_tracked")}
    # The network's own parts; a classifier or a projection beside them is no fault.
    parts = tuple({key.split(".")[0] + "." for key in wanted})
    places = [
        Place(
            name,
            {key: value for key, value in tensors.items() if key.startswith(parts) and not key.startswith(ignored)},
        )
        for name, tensors in _places(content, anchor)
    ]
    fitting = [place for place in places if needed <= place.tensors.keys() <= set(wanted)]
    trained = [place for place in fitting if not AVERAGED.search(place.name)] or fitting
    if len(trained) == 1:
        return trained[0].tensors
    name = f"weights {str(path)!r}"
    if trained:
        found = " and ".join(repr(line(place.name)) for place in trained[:3])
        raise InvalidInput(f"{name} hold {len(trained)} such networks, below {found}; save one of them alone")
    nearest = max(places, key=lambda place: len(needed & place.tensors.keys()), default=Place("", {}))
    absent = [key for key in wanted if key in needed and key not in nearest.tensors]
    fault, keys = ("lack", absent) if absent else ("have the unknown", list(nearest.tensors.keys() - set(wanted)))
    found = f" below {line(nearest.name)!r}" if nearest.name else ""
    raise InvalidInput(
        f"{name} {fault} {line(keys[0])}{found} ({len(keys)} such); {_keys(content)}; take weights of this network"
    )


def _keys(content: Mapping[Any, Any]) -> str:
    """Some keys of a file, those of its largest dictionary."""
    path, largest = max(_dictionaries(content), key=lambda item: len(item[1]))
    shown = ", ".join(line(f"{path}{key}") for key in list(largest)[:3])
    more = ", ..." if len(largest) > 3 else ""
    return f"the file has the keys {shown}{more}" if shown else "the file has no keys"


def _checked(tensors: dict[str, Any], network: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors in the network's types. Raises InvalidInput unless each is a plain, finite one of the right shape."""
    wanted, checked = network.state_dict(), {}
    for key, value in tensors.items():
        if (
            not isinstance(value, Tensor)
            or value.is_nested  # first, because the other properties are not defined for nested tensors
            or value.is_quantized
            or value.is_complex()
            or (value.device.type, value.layout) != ("cpu", torch.strided)
        ):
            raise InvalidInput(f"weights {str(path)!r}: {key} is not a plain tensor")
        if value.shape != wanted[key].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(wanted[key].shape)}"
            raise InvalidInput(f"weights {str(path)!r}: {key} has shape {shapes}")
        converted = value.to(wanted[key].dtype)  # a number may be finite in the file's type only
        if value.is_floating_point() != converted.is_floating_point() or not bool(torch.isfinite(converted).all()):
            raise InvalidInput(f"weights {str(path)!r}: {key} has values that are not finite or of another kind")
        if key.endswith("running_var") and bool((converted < 0).any()):
            raise InvalidInput(f"weights {str(path)!r}: {key} has negative variances")
        checked[key] = converted
    return checked
