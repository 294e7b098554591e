"""Write a trained network for other programs: ``python -m training.export RUN --format onnx|torchscript|safetensors+py``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import OutputFolder
from lpm.console.text import shown
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.data.untrusted import line
from training.options import CORRECTIONS, add_correction, add_data, add_lists, correction_record, settings_of
from training.store import run_code, runs
from training.store.runs import RunFolder

FORMATS = {
    "onnx": "for onnxruntime (extra `onnx`)",
    "torchscript": "for torch.jit.load and libtorch",
    "safetensors+py": "weights and one file of code, which needs PyTorch alone",
}
"""The forms of a network, and what each is for."""

OTHERS = {"onnx": "torchscript", "torchscript": "onnx", "safetensors+py": "onnx or torchscript"}
"""Forms that may hold a network which a form cannot."""

LOADED = {
    "onnx": 'onnxruntime.InferenceSession("network.onnx")',
    "torchscript": 'torch.jit.load("network.pt")',
    "safetensors+py": "from network import load; load()",
}
"""What loads each of them, in Python."""

IMAGES = 10
"""Test images on which the files must predict what the run predicted."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if the run or its data cannot be used, the form cannot hold its network, or the files do not predict
            what the run predicted. Nothing is written then.
    """
    parser = cli.Parser(
        "training.export",
        "write a trained network for other programs, and check on ten test images that it predicts what the run predicted",
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a finished run (.../seed-0)")
    words = "; ".join(f"{name}: {use}" for name, use in FORMATS.items())
    add("--format", type=cli.choice(*FORMATS), required=True, metavar="NAME", help=words)
    add("--out", type=Path, metavar="DIR", help="folder for the files (default: network- and the format)")
    add_correction(parser)
    add_data(parser, weights=False)
    add_lists(parser)
    options = parser.parse_args(arguments)
    settings_of(options)  # refused before data are read
    folder = runs.at(options.run)
    from training.jobs.prepare import again  # brings torch

    data = again(folder, options)
    run_code.note((folder.path, folder.config), options=["--model"])
    place = options.out or Path(f"network-{options.format.partition('+')[0]}")
    with OutputFolder(place, "training.export") as output:
        record = _written(folder, data, options, output.path)
        files = output.files
        output.finish(record)
    print(f"{shown(folder.config.method)} on {folder.config.data}, in {shown(place)}: {', '.join(files)}")
    corrected = "" if options.correction is None else f", after {CORRECTIONS[options.correction].partition(',')[0]}"
    print(f"It predicts what the run predicted{corrected}, on {record['checked_images']} test images.")
    cli.next_step(f"{LOADED[options.format]}, in {place}; manifest.json says what it takes and returns")
    return 0


def _written(folder: RunFolder, data: LongTailed, options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Write the files, and compare their predictions with the run's. Returns what the manifest says of them."""
    import torch

    from training.batches import sources
    from training.run import exported
    from training.run.corrections import Finished, Options, corrected_network
    from training.run.inference import network_of

    config, device = folder.config, torch.device("cpu")
    stored = folder.final().get("test_answers")
    if stored is None:
        raise InvalidInput(
            f"{str(folder.path)!r} has no predictions, because an older version made it; training.measure adds them"
        )
    if stored.shape != (len(data.test.labels), 2) or stored.min() < 0 or stored.max() >= config.K:
        raise InvalidInput(
            f"the predictions of {str(folder.path)!r} do not fit its data; training.measure makes them again"
        )
    network = network_of(folder, data.channels, device)
    chosen = np.unique(np.linspace(0, len(stored) - 1, IMAGES).round().astype(int))
    source = sources.of(config, data, device, options.workers or 0)
    mean, std = sources.constants(data.mean, data.std, device)
    if options.correction is not None:
        workers = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
        run = Finished(config, network, data, device, workers if config.data_set.files else 0, quiet=False)
        network = corrected_network(run, options.correction, Options(*settings_of(options)))
    with torch.no_grad():
        x = torch.cat(list(source.test(torch.from_numpy(chosen)))).contiguous()
        pixels, logits = x * std + mean, network(x).numpy()
    answers = stored[chosen, 0] if options.correction is None else logits.argmax(axis=1)
    module = exported.Pixels(network, mean, std).eval()
    writers: dict[str, Any] = {
        "onnx": exported.onnx,
        "torchscript": exported.torchscript,
        "safetensors+py": partial(exported.code, data=config.data),
    }
    try:
        written = writers[options.format](module, pixels, place)(pixels.numpy())
    except (InvalidInput, OSError):  # a disk that is full is no fault of the network
        raise
    except Exception as error:  # what a writer raises for a network that it cannot write, or one's own code raises
        reason = line(re.split(r"\n|\.\s", str(error.__cause__ or error).strip())[0]) or type(error).__name__
        raise InvalidInput(
            f"{options.format} cannot hold this network ({reason}); --format {OTHERS[options.format]} may"
        ) from None
    bf16 = config.precision == "bf16"
    if fault := exported.difference(written, logits, answers, bf16=bf16):
        raise InvalidInput(f"{options.format}: {fault}; nothing is written")
    return {
        "run": config.folder,
        "method": config.method,
        "classes": list(folder.result().class_names) or list(map(str, range(config.K))),
        "input": {"pixels": ["images", *pixels.shape[1:]], "values": "0..1, which is pixel / 255"} | _cut(config),
        "output": {"logits": ["images", config.K]},
        "checked_images": len(chosen),
        "correction": correction_record(options),
    }


def _cut(config: RunConfig) -> dict[str, Any]:
    """How an image file becomes the pixels that the network takes, for the manifest."""
    if not config.data_set.files:
        return {}
    return {
        "cut": f"torchvision's Resize({round(config.pixels * 256 / 224)}), then CenterCrop({config.pixels}), bilinear",
        "upright": config.upright,
        "pixel_bits": config.pixel_bits,
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))
