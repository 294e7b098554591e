"""CIFAR's residual networks (He et al. 2015): 6n + 2 layers in three stages, shortcuts without parameters (type A)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = {"resnet8": 1, "resnet14": 2, "resnet20": 3, "resnet32": 5}
"""Blocks in each of the three stages, n."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters.

    The shortcut takes every other pixel where the stride is 2, and pads channels with zeros, half on each side.

    Args:
        inputs: channels before.
        outputs: channels after.
        stride: 1, or 2 to halve width and height.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (B, inputs, H, W).

        Returns:
            (B, outputs, H / stride, W / stride).
        """
        # In place, which spares memory traffic: the gradient of BatchNorm does not need its output.
        y = self.norm2(self.conv2(F.relu_(self.norm1(self.conv1(x)))))
        if self.stride > 1 or self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu_(y.add_(x))


class ResNet(nn.Module):
    """A residual network for small images: from images (B, channels, H, W) to features (B, 4 width).

    The initial weights are Kaiming normal by fan-in, as in the reference networks. With its linear classifier ResNet-32
    has 464,154 parameters at K = 10, width 16, and 1,861,508 at K = 100, width 32. ReLU and residual sums act in place, so full
    backward hooks on a BatchNorm before them do not work.

    Args:
        name: a key of :data:`BLOCKS`.
        width: channels of the first stage; the second and third have twice and four times as many.
        channels: channels of the images.

    Attributes:
        p: width of the features.
        last_stage: blocks in the last stage.
    """

    def __init__(self, name: str = "resnet32", *, width: int = 16, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
        for stage, outputs in enumerate((width, 2 * width, 4 * width)):
            for block in range(BLOCKS[name]):
                layers.append(BasicBlock(inputs, outputs, 2 if stage and block == 0 else 1))
                inputs = outputs
        self.body = nn.Sequential(*layers)
        self.p = 4 * width
        self.last_stage = BLOCKS[name]
        self.apply(self.initialise)

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Draw the initial weights of a convolution, from torch's global generator.

        Args:
            module: a module of the network; any other than a convolution stays as it is.
        """
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)

    def layers(self) -> list[nn.Module]:
        """List the layers in the order of their use; the blocks of the last stage come last."""
        return list(self.body)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features.

        Args:
            x: normalised images, (B, channels, H, W).

        Returns:
            Features, (B, 4 width).
        """
        return self.body(x).mean(dim=(2, 3))
