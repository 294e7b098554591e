"""ResNet-50 and ResNet-152 as in torchvision (He et al. 2015, stride on the 3x3 convolution); weights from a file."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.data.untrusted import contents, line

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet50-wide4": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)}
"""Blocks in each of the four stages."""

FROZEN = {"all": 0, "stage4": 7, "block": 8, "classifier": 8}
"""How many of a network's parts are frozen, in this order: conv1, bn1, relu, maxpool, layer1 to layer4, block."""

LIMIT = 1_000_000_000
"""Bytes that a file of weights may have; ResNet-152's has 241 million."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them: inputs -> planes -> planes -> 4 planes channels.

    Args:
        inputs: channels before.
        planes: channels between; 4 planes come out.
        stride: 1, or 2 to halve width and height in the 3x3 convolution.
    """

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
        """Apply the block.

        Args:
            x: (B, inputs, H, W).

        Returns:
            (B, 4 planes, H / stride, W / stride).
        """
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottlenecks(nn.Module):
    """A residual network of bottleneck blocks: from images (B, channels, H, W) to features (B, p), p = 32 width.

    The initial weights are Kaiming normal by fan-out. Frozen parts have no gradient and stay in evaluation mode, so
    their running statistics do not change either. Without classifiers ResNet-50 has 23,508,032 parameters, ResNet-152
    has 58,143,808.

    Args:
        name: a key of :data:`BLOCKS`; the last stage of 'resnet50-wide4', and so p, is twice as wide (Yang et al.
            2022).
        width: channels of the first convolution.
        channels: channels of the images.
        trains: which parts train. 'all' trains all; 'stage4' the last stage; 'classifier' none of the network. 'block'
            keeps two of the last stage's three blocks, frozen, and trains one new block after them: MiSLAS's recipe for
            Places, with PyTorch's own initialisation.
    """

    def __init__(self, name: str = "resnet50", *, width: int = 64, channels: int = 3, trains: str = "all") -> None:
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
        """Set training or evaluation mode; frozen parts stay in evaluation mode.

        Args:
            mode: whether to train.

        Returns:
            The network itself.
        """
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Compute features.

        Args:
            x: normalised images, (B, channels, H, W).

        Returns:
            Features, (B, p).
        """
        with torch.no_grad():
            for part in self.frozen:
                x = part(x)
        for part in list(self.children())[len(self.frozen) :]:
            x = part(x)
        return x.mean(dim=(2, 3))


def load_weights(network: Bottlenecks, path: Path) -> str:
    """Set a network's weights to those of a file, with torchvision's keys.

    A classifier in the file (fc) is ignored, and a prefix 'module.' is dropped. With trains = 'block' the new block
    keeps its initialisation, and the file's last block is ignored.

    Args:
        network: the network; unchanged if the file is refused.
        path: a .pth, .pt or .safetensors file.

    Returns:
        The file's SHA-256.

    Raises:
        InvalidInput: if the file is of another kind, asks to run code, lacks a tensor or has an unknown one, or has one
            of another shape or with values that are not finite.
    """
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise InvalidInput(f"weights {str(path)!r} must be a .pth, .pt or .safetensors file")
    data = contents(path, LIMIT)
    tensors = _safetensors(data, path) if path.suffix == ".safetensors" else _pickled(data, path)
    network.load_state_dict(_matched(tensors, network, path), strict=False)
    return hashlib.sha256(data).hexdigest()


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


def _pickled(data: bytes, path: Path) -> dict[str, Tensor]:
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):  # torch never compresses, but unpacks what is
            size = sum(part.file_size for part in zipfile.ZipFile(io.BytesIO(data)).infolist())
            if size > LIMIT:
                raise ValueError(f"unpacked they have {size:,} bytes; at most {LIMIT:,} are read")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt pickle can raise anything; none of it is executed
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"the file asks to run {line(code[1])}" if code else line(error) or type(error).__name__
        raise InvalidInput(f"weights {str(path)!r} must be tensors only: {reason}") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidInput(f"weights {str(path)!r} must be a dictionary of tensors by name")
    return content


def _matched(tensors: dict[str, Tensor], network: Bottlenecks, path: Path) -> dict[str, Tensor]:
    """The file's tensors by the network's keys. Raises InvalidInput unless the keys and shapes are the network's."""
    ignored = ("fc.", "layer4.2.") if network.trains == "block" else ("fc.",)
    named = {key.removeprefix("module."): value for key, value in tensors.items()}
    named = {key: value for key, value in named.items() if not key.startswith(ignored)}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith("block.")}
    absent = [key for key in wanted if key not in named and not key.endswith("num_batches_tracked")]
    unknown = [key for key in named if key not in wanted]
    for fault, keys in (("lack", absent), ("have the unknown", unknown)):
        if keys:
            raise InvalidInput(
                f"weights {str(path)!r} {fault} {line(keys[0])} ({len(keys)} such); take weights of this network"
            )
    for key, value in named.items():
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
        named[key] = converted
    return named
