"""Residual networks for image files as in torchvision (He et al. 2015, stride on the 3x3 convolution)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = {
    **{"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)},
    **{"resnet50": (3, 4, 6, 3), "resnet50-wide4": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)},
}
"""Blocks in each of the four stages."""

FROZEN = {"all": 0, "stage4": 7, "block": 8, "classifier": 8, "features": 8}
"""How many of a network's parts are frozen, in this order: conv1, bn1, relu, maxpool, layer1 to layer4, block."""


class Basic(nn.Module):
    """Two 3x3 convolutions with a shortcut around them, as ResNet-18 and ResNet-34 have them.

    Args:
        inputs: channels before.
        planes: channels after.
        stride: 1, or 2 to halve width and height in the first convolution.
    """

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
            if stride > 1 or inputs != planes
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (B, inputs, H, W).

        Returns:
            (B, planes, H / stride, W / stride).
        """
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them: inputs -> planes -> planes -> 4 planes channels.

    Args:
        inputs: channels before.
        planes: channels between; 4 planes come out.
        stride: 1, or 2 to halve width and height in the 3x3 convolution.
    """

    expansion = 4

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
    """A residual network for image files: from images (B, channels, H, W) to features (B, p).

    It has bottleneck blocks and p = 32 width, or with 18 and 34 layers basic blocks and p = 8 width.

    The initial weights are Kaiming normal by fan-out. Frozen parts have no gradient and stay in evaluation mode, so
    their running statistics do not change either. Without classifiers ResNet-50 has 23,508,032 parameters, ResNet-152
    has 58,143,808.

    Args:
        name: a key of :data:`BLOCKS`; the last stage of 'resnet50-wide4', and so p, is twice as wide (Yang et al.
            2022).
        width: channels of the first convolution.
        channels: channels of the images.
        trains: which parts train. 'all' trains all; 'stage4' the last stage; 'classifier' and
            'features' none of the network. 'block'
            keeps two of the last stage's three blocks, frozen, and trains one new block after them: MiSLAS's recipe for
            Places, with PyTorch's own initialisation.

    Attributes:
        p: width of the features.
        last_stage: blocks in the last stage.
        frozen: the parts that do not train.
    """

    def __init__(self, name: str = "resnet50", *, width: int = 64, channels: int = 3, trains: str = "all") -> None:
        super().__init__()
        self.trains = trains
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, block = width, Basic if name in ("resnet18", "resnet34") else Bottleneck
        for stage, blocks in enumerate(BLOCKS[name]):
            planes = width * 2**stage * (2 if name.endswith("wide4") and stage == 3 else 1)
            first = block(inputs, planes, 2 if stage else 1)
            inputs = block.expansion * planes
            more = blocks - 1 - (trains == "block" and stage == 3)
            rest = [block(inputs, planes) for _ in range(more)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
        self.p: int = inputs
        self.last_stage = BLOCKS[name][-1]
        self.apply(self.initialise)
        if trains == "block":
            self.block = Bottleneck(inputs, inputs // 4)
        self.frozen = list(self.children())[: FROZEN[trains]]
        for part in self.frozen:
            part.requires_grad_(False)
        self.train()

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Draw the initial weights of a convolution, from torch's global generator.

        Args:
            module: a module of the network; any other than a convolution stays as it is.
        """
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def layers(self) -> list[nn.Module]:
        """List the layers in the order of their use, stages block by block; the blocks of the last stage come last."""
        parts = [[*part] if isinstance(part, nn.Sequential) else [part] for part in self.children()]
        return [layer for part in parts for layer in part]

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
