"""A finished network as files that need nothing of this project: ONNX, TorchScript, or safetensors with Python code.

The network takes pixels in 0..1 and returns logits. What was written is read again and compared with the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, fx, nn

from lpm.console.errors import InvalidInput, install
from training.model.build import Network

ROUNDING = 1e-4
"""Largest difference of logits that counts as rounding, as a share of the largest logit."""

BF16 = 2.0**-5
"""The same between a run whose backbone computed in bfloat16 and a network in float32."""

Scores = Callable[[np.ndarray], np.ndarray]
"""From pixels (B, C, H, W) to logits (B, K), float32."""


class Pixels(nn.Module):
    """A network that takes pixels: it normalises them first.

    Args:
        network: the network.
        mean: mean of each channel, (C, 1, 1).
        std: standard deviation of each channel, (C, 1, 1).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits.

        Args:
            pixels: (B, C, H, W) in 0..1.

        Returns:
            Logits, (B, K).
        """
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return logits


def onnx(network: Pixels, example: Tensor, folder: Path) -> Scores:
    """Write ``network.onnx``, with input 'pixels' and output 'logits', for batches of any size.

    Args:
        network: the network, in evaluation mode.
        example: pixels, (B, C, H, W), at least two images.
        folder: where the file goes.

    Returns:
        The scores of the file, by onnxruntime.

    Raises:
        InvalidInput: if a package is missing.
        Exception: of PyTorch, if the network asks for values while it runs, or has operators that ONNX lacks.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise InvalidInput(f"--format onnx needs {name}; install it with {install('onnx')}")
    import onnxruntime

    file = folder / "network.onnx"
    shapes = ({0: torch.export.Dim("images")},)
    with _silent():
        torch.onnx.export(
            network, (example,), file, input_names=["pixels"], output_names=["logits"], dynamic_shapes=shapes,
            external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(["logits"], {"pixels": pixels})[0])


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hold back what PyTorch prints of itself, and of a network that it cannot write; its exception says that, too."""
    words, disabled = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def torchscript(network: Pixels, example: Tensor, folder: Path) -> Scores:
    """Write ``network.pt``, for ``torch.jit.load``.

    Args:
        network: the network, in evaluation mode.
        example: pixels, (B, C, H, W).
        folder: where the file goes.

    Returns:
        The scores of the file.
    """
    jit: Any = torch.jit  # it has no types
    file = io.BytesIO()
    # Layers may compute otherwise where no gradients are wanted, as in inference; attention does.
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        # PyTorch prefers torch.export, which libtorch does not read
        warnings.simplefilter("ignore", DeprecationWarning)
        jit.save(jit.trace(network, example), file)
        (folder / "network.pt").write_bytes(file.getvalue())
        loaded = jit.load(folder / "network.pt", map_location="cpu")
    if any(issubclass(warning.category, jit.TracerWarning) for warning in caught):
        print(
            f"note: the network's code asks for values or shapes; network.pt goes the ways that {len(example)} test images took",
            file=sys.stderr,
        )
    return _of_module(loaded)


CODE = '''"""A network trained on {data}, written by balancing-mixed-labels.

    from network import load

    logits = load("network.safetensors")(pixels)  # (B, {channels}, {size}, {size}) in 0..1 to (B, {classes})

It needs PyTorch and safetensors alone. The largest logit is the prediction.
"""

import torch
from safetensors.torch import load_file
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
{layers}

{forward}


def load(path="network.safetensors"):
    network = Network()
    network.load_state_dict(load_file(path))
    return network.eval()
'''


def code(network: Pixels, example: Tensor, folder: Path, data: str) -> Scores:
    """Write ``network.safetensors`` and ``network.py``, which has the network's layers and how they follow each other.

    Args:
        network: the network, in evaluation mode.
        example: pixels, (B, C, H, W).
        folder: where the files go.
        data: name of the data, in the first line of the code; letters, digits and hyphens.

    Returns:
        The scores of the two files.

    Raises:
        Exception: of PyTorch or Python, if the network has no fixed order of layers, or layers that are not told by one line,
            as some networks of one's own.
    """
    traced = fx.symbolic_trace(network)
    layers, tensors, names_of = dict[str, str](), dict[str, Tensor](), dict[str, str]()
    for node in traced.graph.nodes:
        node.type = None  # annotations would need imports
        if node.op not in ("call_module", "get_attr"):
            continue
        path = str(node.target)
        node.target = name = names_of.setdefault(path, _unused(path, set(names_of.values())))
        if node.op == "get_attr":
            owner, _, attribute = path.rpartition(".")
            tensors[name] = getattr(traced.get_submodule(owner), attribute).detach()
            layers[name] = f'self.register_buffer("{name}", torch.empty({tuple(tensors[name].shape)}))'
        else:
            layer = traced.get_submodule(path)
            layers[name] = f"self.{name} = nn.{layer!r}"
            tensors |= {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items()}
    forward = traced.graph.python_code("self").src.strip()
    with torch.no_grad():
        classes = network(example).shape[1]
    source = CODE.format(
        data=data,
        channels=example.shape[1],
        size=example.shape[2],
        classes=classes,
        layers=textwrap.indent("\n".join(layers.values()), " " * 8),
        forward=textwrap.indent(forward, " " * 4),
    )
    (folder / "network.safetensors").write_bytes(save_tensors({k: v.contiguous() for k, v in tensors.items()}))
    (folder / "network.py").write_text(source)
    names: dict[str, Any] = {}
    exec(compile(source, "network.py", "exec"), names)  # made here, of the names of layers and of checked words
    loaded = names["Network"]()
    loaded.load_state_dict(load_tensors((folder / "network.safetensors").read_bytes()))
    return _of_module(loaded.eval())


def _unused(path: str, taken: set[str]) -> str:
    """A name for a layer: 'a.b_c' and 'a_b.c' must not become one."""
    name = usual = path.removeprefix("network.").replace(".", "_")
    number = 1
    while name in taken:
        number += 1
        name = f"{usual}_{number}"
    return name


def _of_module(module: nn.Module) -> Scores:
    @torch.no_grad()
    def scores(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(module(torch.from_numpy(pixels)).numpy())

    return scores


def difference(written: np.ndarray, network: np.ndarray, stored: np.ndarray, *, bf16: bool) -> str:
    """Compare what was written with the run.

    Args:
        written: (n, K) logits of the files.
        network: (n, K) logits of the run's network, in float32.
        stored: (n,) classes that the run predicted for these images when it ended.
        bf16: whether its backbone computed in bfloat16 then. Two classes may then be closer than its rounding.

    Returns:
        The first difference in words; '' where there is none.
    """
    scale = max(1.0, float(np.abs(network).max()))
    if written.shape != network.shape:
        return f"logits have the shape {written.shape}, not {network.shape}"
    if not (gap := float(np.abs(written - network).max())) <= ROUNDING * scale:  # also where it is not a number
        return f"logits differ by {gap:.2g}, which is more than rounding"
    for number, (row, label) in enumerate(zip(written, stored.tolist(), strict=True), 1):
        if row.max() - row[label] > (BF16 if bf16 else ROUNDING) * scale:
            return f"image {number} is predicted as class {row.argmax()}, and the run predicted class {label}"
    return ""
