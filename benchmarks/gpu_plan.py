"""Measurements that wait for a GPU, most valuable first, within a time limit: ``python -m benchmarks.gpu_plan``.

The order and its reasons are in docs/reproduce/gpu-plan.md.
Each part is a process of its own, because a failed capture leaves a process that cannot use the GPU any more. Results
are written as they come. When a part fails or takes too long, a line says so and the next part begins.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import bound, captured, training
from benchmarks.gpu_runs import Row, known_rows, outline, train
from benchmarks.rows import as_csv
from lpm.console import cli
from lpm.console.cli import jobs, minutes
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.catalogue import CATALOGUE
from training.data import cifar
from training.model import build

PRESETS = tuple(CATALOGUE["cifar10-lt"].presets)
"""Recipes that the runs may have."""


def check(options: argparse.Namespace, device: torch.device) -> int:
    """Compare captured steps with plain ones.

    Args:
        options: parsed options.
        device: where steps run.

    Returns:
        The exit status: 1 if they differ.
    """
    return captured.compared(device)


def keep(options: argparse.Namespace, name: str, rows: Iterator[Row]) -> int:
    """Write rows as they come. When all are there, write them into the store too, which marks the part as done.

    Args:
        options: parsed options.
        name: name of the file.
        rows: the measurements.

    Returns:
        The exit status.
    """
    measured: list[Row] = []
    for row in rows:
        measured.append(row)
        write(options.out / name, as_csv(measured))
    write(options.store / name, as_csv(measured))
    return 0


def speed(options: argparse.Namespace, device: torch.device) -> int:
    """Measure images per second.

    Args:
        options: parsed options.
        device: where runs train.

    Returns:
        The exit status.
    """
    return keep(options, "speed.csv", training.rows(device, capture=not options.no_capture))


def bounds(options: argparse.Namespace, device: torch.device) -> int:
    """Measure how far a step is from what the machine allows.

    Args:
        options: parsed options.
        device: where steps run.

    Returns:
        The exit status.
    """
    return keep(options, "bound.csv", bound.rows(device, capture=not options.no_capture))


def profile(options: argparse.Namespace, device: torch.device) -> int:
    """Write the operations that take the most time.

    Args:
        options: parsed options.
        device: where steps run.

    Returns:
        The exit status.
    """
    text = bound.profiled(device, capture=not options.no_capture).encode()
    for folder in (options.out, options.store):
        write(folder / "profile.txt", text)
    return 0


@dataclass(frozen=True)
class Part:
    """One part of the plan.

    Attributes:
        run: does it, and returns the exit status.
        file: the file that exists in the store once the part is done; empty for a part that is always done again.
        minutes: the most minutes that it may take; 0 for the rest of the time.
    """

    run: Callable[[argparse.Namespace, torch.device], int]
    file: str = ""
    minutes: float = 0.0


PARTS = {
    "check": Part(run=check, minutes=1.5),
    "train": Part(run=train),
    "speed": Part(run=speed, file="speed.csv", minutes=4.0),
    "bound": Part(run=bounds, file="bound.csv", minutes=2.0),
    "profile": Part(run=profile, file="profile.txt", minutes=1.0),
}
"""The parts in their order."""

ATTEMPTS = 2
"""Number of times that a failing part is begun. Then it is left out, so that it leaves time for training."""


def all_parts(options: argparse.Namespace) -> int:
    """Run each part in a process of its own.

    Args:
        options: parsed options.

    Returns:
        The exit status: 1 if a part failed.
    """
    end, failed = time.monotonic() + 60 * options.minutes, False
    attempts_file, plain = options.store / "attempts.txt", options.no_capture
    for name, part in PARTS.items():
        # Words of earlier calls: parts that were begun, and whether steps have proved "captured" or must be "plain".
        attempts = attempts_file.read_text(errors="replace").split() if attempts_file.is_file() else []
        plain |= "plain" in attempts
        if part.file and (options.store / part.file).exists():
            write(options.out / part.file, (options.store / part.file).read_bytes())
        elif time.monotonic() > end or (name == "check" and (plain or "captured" in attempts)):
            pass
        elif part.file and attempts.count(name) >= ATTEMPTS:
            print(f"{name}: left out after {ATTEMPTS} attempts", flush=True)
        else:
            status = _process(name, options, plain, end, part.minutes)
            failed |= status != 0
            attempts.append(name)
            # Bad input (2) and a part that took too long (124) say nothing about captured steps.
            failed_captured = not plain and status not in ((0,) if name == "check" else (0, 2, 124))
            if name in ("check", "train") and failed_captured:
                print("captured steps failed; plain steps are used from now on", flush=True)
                plain = True
                attempts.append("plain")
                if name == "train":
                    _process(name, options, plain, end, part.minutes)
            elif name == "check":
                attempts.append("captured")
            write(attempts_file, " ".join(attempts).encode())
    return int(failed)


def described(options: argparse.Namespace) -> str:
    """Describe what is left of the plan.

    Args:
        options: parsed options.

    Returns:
        One line for each part, and for training one line for each group of runs.
    """
    lines = []
    for name, part in PARTS.items():
        done = bool(part.file) and (options.store / part.file).exists()
        limit = f"at most {part.minutes:g} min"
        lines.append(outline(options) if name == "train" else f"{name}: {'done' if done else limit}\n")
    return "".join(lines)


def _process(part: str, options: argparse.Namespace, plain: bool, end: float, limit: float) -> int:
    """Run a part in a process, and return its exit status: 124 when it took too long and was killed with its children.

    ``limit``: the most minutes that it may take; 0 for the rest of the time.
    """
    rest = (end - time.monotonic()) / 60
    words = [sys.executable, "-m", "benchmarks.gpu_plan", "--part", part, "--minutes", f"{max(rest, 0.001):.3f}"]
    given = {"data-root": options.data_root, "store": options.store, "out": options.out, "skip": options.skip}
    given |= {"jobs": options.jobs, "preset": options.preset, "device": options.device}
    words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    start = time.monotonic()
    # Training ends without help when the time is up; the 25 seconds are for the epochs that have begun.
    wait = 60 * min(limit, rest) if limit else 60 * rest + 25
    with subprocess.Popen([*words, *["--no-capture"] * plain], start_new_session=True) as process:
        try:
            status = process.wait(max(wait, 1))
        except subprocess.TimeoutExpired:
            status = 124
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    print(f"{part}: exit status {status} after {time.monotonic() - start:.1f} s", flush=True)
    return status


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if CIFAR-10 is missing, ``--skip`` has other columns, or a folder cannot be made.
    """
    parser = cli.Parser(
        "benchmarks.gpu_plan", "measure and train on a GPU, the most valuable first, until the time is up"
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, metavar="DIR", help="folder with CIFAR's files")
    add("--store", type=Path, default=Path("runs-gpu"), metavar="DIR", help="the run store")
    results = "folder for runs.csv, speed.csv, bound.csv, profile.txt and failures.txt"
    add("--out", type=Path, default=Path("."), metavar="DIR", help=results)
    add("--skip", type=Path, metavar="CSV", help="file like results/runs.csv; its runs are not trained again")
    add("--minutes", type=minutes, default=9.0, help="time limit in minutes")
    add("--jobs", type=jobs, default=8, metavar="N", help="runs in flight")
    add("--no-capture", action="store_true", help="use plain steps, not captured ones")
    add(
        "--part",
        type=cli.choice(*PARTS),
        metavar="NAME",
        help="|".join(PARTS) + ": run this part only, in this process",
    )
    add(
        "--preset",
        type=cli.choice(*PRESETS),
        default="paper",
        metavar="NAME",
        help="|".join(PRESETS) + ": recipe of the runs",
    )
    add("--dry-run", action="store_true", help="check what is given, and print the parts and the runs that are left")
    devices = ("auto", "cpu", "cuda")
    add(
        "--device", type=cli.choice(*devices), default="auto", metavar="NAME", help="|".join(devices) + ": where to run"
    )
    options = parser.parse_args(arguments)
    device = build.device(options.device)
    known_rows(options.skip)
    if not options.part:
        cifar.read(options.data_root, 10)  # before minutes are spent
    if options.dry_run:
        print(described(options), end="")
        return 0
    for folder in (options.out, options.store):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{str(folder)!r} cannot be made: {error.strerror}") from None
    return PARTS[options.part].run(options, device) if options.part else all_parts(options)


if __name__ == "__main__":
    sys.exit(cli.run(main))
