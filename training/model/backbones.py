"""Networks of others as backbones: timm's by name, or a function of one's own by its dotted name."""

from __future__ import annotations

import importlib.metadata

import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from training.data.own_code import called, function_of, source_hash
from training.data.untrusted import line

TIMM = "timm:"
"""What a name of timm's networks begins with."""


class Other(nn.Module):
    """A network of others as a backbone: from images (B, channels, H, W) to features (B, p).

    Args:
        name: 'timm:NAME', or 'package.module:function', a function of the number of channels that returns a module.
        channels: channels of the images.
        size: pixels per side of the images.
        trains: 'all', or 'classifier' or 'features', under which it is frozen and stays in evaluation mode.

    Attributes:
        p: width of the features, as images of that size give them.

    Raises:
        InvalidInput: if there is no such network, or it does not return features.
    """

    def __init__(self, name: str, *, channels: int = 3, size: int = 224, trains: str = "all") -> None:
        super().__init__()
        self.trains, self.frozen = trains, trains != "all"
        self.body = _of_timm(name.removeprefix(TIMM), channels) if name.startswith(TIMM) else _own(name, channels)
        if self.frozen:
            self.body.requires_grad_(False)
        self.p = _width(self.body, name, channels, size, self.frozen)
        self.train()

    def train(self, mode: bool = True) -> Other:
        """Set training or evaluation mode; a frozen network stays in evaluation mode.

        Args:
            mode: whether to train.

        Returns:
            The network itself.
        """
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Compute features.

        Args:
            x: normalised images, (B, channels, H, W).

        Returns:
            Features, (B, p).
        """
        if not self.frozen:
            return self.body(x)
        with torch.no_grad():
            return self.body(x)


def code_of(name: str) -> str:
    """Say which code makes a network: its weights alone do not say what it computes.

    Args:
        name: of the network.

    Returns:
        The hash of the source of a function of one's own, or timm's version; '' for a network of this project.

    Raises:
        InvalidInput: as :func:`training.data.own_code.source_hash`.
    """
    if name.startswith(TIMM):
        return importlib.metadata.version("timm")
    return source_hash(name, "--model") if ":" in name else ""


def _of_timm(name: str, channels: int) -> nn.Module:
    try:
        import timm
    except Exception as error:  # also that of a torchvision which does not fit torch
        raise InvalidInput(
            f"model {TIMM}{name} needs timm, which cannot be imported ({line(error)}): pip install timm"
        ) from None
    if name not in timm.list_models():
        raise InvalidInput(
            f"model {TIMM}{name} is unknown to timm {timm.__version__}; timm.list_models() has the names"
        )
    # Never a download: weights come from --weights. Without classes it returns pooled features.
    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels)
    return made


def _own(name: str, channels: int) -> nn.Module:
    made = called(function_of(name, "--model"), channels, words=f"--model {name}")
    if not isinstance(made, nn.Module):
        raise InvalidInput(f"--model {name} returns {type(made).__name__}, no torch.nn.Module")
    return made


@torch.no_grad()
def _width(body: nn.Module, name: str, channels: int, size: int, frozen: bool) -> int:
    """The width of the features; a module that fails in the mode it is needed in is refused before an epoch is spent."""
    images = torch.zeros(2, channels, size, size)
    kept = {key: value.clone() for key, value in body.named_buffers()}
    widths = []
    with torch.random.fork_rng(devices=[]):  # dropout must not move the run's own draws
        for mode in (False,) if frozen else (False, True):
            try:
                features = body.train(mode)(images)
            except Exception as error:  # whatever the module's own code raises
                raise InvalidInput(
                    f"model {name} fails on images of {size} x {size} pixels{' in training mode' * mode}: "
                    f"{line(error) or type(error).__name__}"
                ) from None
            if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
                raise InvalidInput(
                    f"model {name} must return features of shape (images, width), pooled and without classes"
                    f"{', in training mode, too' * mode}"
                )
            widths.append(features.shape[1])
    for key, value in body.named_buffers():  # statistics of BatchNorm, which images of zeros would move
        if key in kept:
            value.copy_(kept[key])
    if len(set(widths)) > 1:
        raise InvalidInput(f"model {name} returns {widths[1]} features in training mode and {widths[0]} otherwise")
    return widths[0]
