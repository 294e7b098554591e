"""ResNet-50 and ResNet-152 in torchvision's layout (He et al. 2015, stride on the 3x3 convolution), and weights from a file."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.data.untrusted import contents, line

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet50-wide4": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)}

Trains = Literal["all", "stage4", "block", "classifier"]

FROZEN = {"all": 0, "stage4": 7, "block": 8, "classifier": 8}
"""How many of a network's parts are frozen: conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, block."""

LIMIT = 1_000_000_000
"""Bytes of a file of weights; ResNet-152's has 241 million."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, inputs -> planes -> planes -> 4 planes channels, around a shortcut."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
            if stride > 1 or inputs != 4 * planes
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottlenecks(nn.Module):
    """Images (B, channels, H, W) to features (B, p), p = 32 width. Weights: Kaiming normal, fan-out.

    name: 'resnet50-wide4' has a last stage, hence features, of twice the width (Yang et al. 2022).

    trains: 'all' parts; 'stage4' the last stage only; 'block' keeps two of the last stage's three blocks, frozen, and trains
    one new block after them (MiSLAS's recipe for Places, with PyTorch's own initialisation); 'classifier' none. What is
    frozen has no gradient and stays in evaluation mode, so that its running statistics do not change either.

    Without classifiers ResNet-50 has 23,508,032 parameters, ResNet-152 has 58,143,808.
    """

    def __init__(self, name: str = "resnet50", *, width: int = 64, channels: int = 3, trains: Trains = "all") -> None:
        super().__init__()
        self.trains = trains
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, blocks in enumerate(BLOCKS[name]):
            planes = width * 2**stage * (2 if name.endswith("wide4") and stage == 3 else 1)
            first = Bottleneck(inputs, planes, 2 if stage else 1)
            inputs = 4 * planes
            more = blocks - 1 - (trains == "block" and stage == 3)
            rest = [Bottleneck(inputs, planes) for _ in range(more)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
        self.p: int = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if trains == "block":
            self.block = Bottleneck(inputs, inputs // 4)
        self.frozen = list(self.children())[: FROZEN[trains]]
        for part in self.frozen:
            part.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Bottlenecks:
        """As ever, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for part in self.frozen:
                x = part(x)
        for part in list(self.children())[len(self.frozen) :]:
            x = part(x)
        return x.mean(dim=(2, 3))


def load_weights(network: Bottlenecks, path: Path) -> str:
    """Set a network's weights to those of a file (.pth, .pt or .safetensors, torchvision's keys); its SHA-256.

    A classifier in the file (fc) is passed over, a prefix 'module.' dropped. With trains = 'block', the new block keeps its
    initialisation and the file's last one is passed over.

    Raises InvalidInput for a file that is no such file, asks to run code, or lacks a tensor, or has another or one of another
    shape, or one with values that are not finite. The network is then unchanged.
    """
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise InvalidInput(f"weights {str(path)!r} must be a .pth, .pt or .safetensors file")
    data = contents(path, LIMIT)
    found = _safetensors(data, path) if path.suffix == ".safetensors" else _pickled(data, path)
    network.load_state_dict(_matched(found, network, path), strict=False)
    return hashlib.sha256(data).hexdigest()


def weights_hash(path: Path) -> str:
    """SHA-256 of a file of weights. Raises InvalidInput when it cannot be read."""
    return hashlib.sha256(contents(path, LIMIT)).hexdigest()


def _safetensors(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise InvalidInput(f"weights {str(path)!r} are no safetensors file: {line(error)}") from None


def _pickled(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):  # torch never compresses, but unpacks what is
            size = sum(part.file_size for part in zipfile.ZipFile(io.BytesIO(data)).infolist())
            if size > LIMIT:
                raise ValueError(f"unpacked it has {size:,} bytes; at most {LIMIT:,} are read")
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt pickle can raise anything; none of it is executed
        asked = re.search(r"GLOBAL (\S+)", str(error))
        said = f"it asks to run {line(asked[1])}" if asked else line(error) or type(error).__name__
        raise InvalidInput(f"weights {str(path)!r} are no tensors alone: {said}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InvalidInput(f"weights {str(path)!r} must be a dictionary of tensors by name")
    return found


def _matched(found: dict[str, Tensor], network: Bottlenecks, path: Path) -> dict[str, Tensor]:
    """The file's tensors by the network's keys. Raises InvalidInput unless they are those it has."""
    passed = ("fc.", "layer4.2.") if network.trains == "block" else ("fc.",)
    named = {key.removeprefix("module."): value for key, value in found.items()}
    named = {key: value for key, value in named.items() if not key.startswith(passed)}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith("block.")}
    absent = [key for key in wanted if key not in named and not key.endswith("num_batches_tracked")]
    odd = [key for key in named if key not in wanted]
    for what, keys in (("lack", absent), ("have the unknown", odd)):
        if keys:
            raise InvalidInput(
                f"weights {str(path)!r} {what} {line(keys[0])} ({len(keys)} such); are they of this network?"
            )
    for key, value in named.items():
        if (
            not isinstance(value, Tensor)
            or value.is_nested  # first: the rest is not defined for such
            or value.is_quantized
            or value.is_complex()
            or (value.device.type, value.layout) != ("cpu", torch.strided)
        ):
            raise InvalidInput(f"weights {str(path)!r}: {key} is not a plain tensor")
        if value.shape != wanted[key].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(wanted[key].shape)}"
            raise InvalidInput(f"weights {str(path)!r}: {key} has shape {shapes}")
        own = value.to(wanted[key].dtype)  # a number may be finite in its own type only
        if value.is_floating_point() != own.is_floating_point() or not bool(torch.isfinite(own).all()):
            raise InvalidInput(f"weights {str(path)!r}: {key} has values that are no finite numbers of its kind")
        if key.endswith("running_var") and bool((own < 0).any()):
            raise InvalidInput(f"weights {str(path)!r}: {key} has negative variances")
        named[key] = own
    return named
