"""A finished run knows the hashes of its files: a changed bit is one line for every command, and measuring renews them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from figures.__main__ import main as figures
from lpm.console import output
from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import older
from training.config import RunConfig, with_preset
from training.confusion import main as confusion
from training.data import datasets
from training.measure import main as measure
from training.run import inference, loop
from training.store import runs
from training.store.results import sealed
from training.store.runs import RunFolder
from training.train import main as train

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)
LAST = "geometry-0000003.safetensors"


@pytest.fixture
def run(digits: datasets.LongTailed, tmp_path: Path) -> RunFolder:
    """Return a finished run with measurements of its last epoch."""
    folder = RunFolder(tmp_path / "store", TINY)
    assert loop.run(TINY, digits, folder, torch.device("cpu")) == folder.result()
    return folder


def flip(file: Path, place: int, bit: int = 0x40) -> None:
    """Change one bit of a file; places count from the end where they are negative."""
    data = bytearray(file.read_bytes())
    data[place] ^= bit
    file.write_bytes(data)


def test_a_changed_bit_of_weights_or_measurements_is_one_line_with_the_remedy(
    run: RunFolder, tmp_path: Path, capsys: Any
) -> None:
    words = [str(run.path)]
    drawn = ["geometry", *words, "--out", str(tmp_path / "g")]
    again = "delete metrics.json and repeat the training command, which trains the run again"
    for name, remedy, commands in (
        (LAST, "training.measure makes it again", [lambda: confusion(words), lambda: figures(drawn)]),
        ("final.safetensors", again, [lambda: confusion(words), lambda: measure(words)]),
    ):
        flip(run.path / name, -7)
        before = {file.name: file.read_bytes() for file in run.path.iterdir()}
        for command in commands:
            assert run_command(command) == 2
            printed = capsys.readouterr()
            assert f"{name}' is damaged: its SHA-256 is not the one in metrics.json; {remedy}\n" in printed.err
            assert (printed.out, printed.err.count("\n")) == ("", 1)
        assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before
        if name == LAST:
            assert run_command(lambda: measure(words)) == 0
            assert run_command(lambda: confusion(words)) == 0
            capsys.readouterr()
    with pytest.raises(InvalidInput, match="is damaged: its SHA-256"):
        inference.network_of(run, 1, torch.device("cpu"))


def test_a_run_with_damaged_weights_is_not_done(
    run: RunFolder, digits: datasets.LongTailed, tmp_path: Path, capsys: Any
) -> None:
    words = [
        "--epochs",
        "3",
        "--width",
        "4",
        "--imbalance",
        "10",
        "--store",
        str(tmp_path / "store"),
        "--device",
        "cpu",
    ]
    assert run_command(lambda: train([*words, "--quiet"])) == 0
    (path,) = {folder.path for folder in runs.find(tmp_path / "store")} - {run.path}
    file = path / "final.safetensors"
    whole = file.read_bytes()
    flip(file, -7)
    capsys.readouterr()
    assert run_command(lambda: train([*words, "--quiet"])) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert (
        "final.safetensors' is damaged: its SHA-256 is not the one in metrics.json; delete metrics.json and"
        in printed.err
    )
    # As it says. On a CPU the run ends bit for bit the same.
    (path / "metrics.json").unlink()
    assert run_command(lambda: train([*words, "--quiet"])) == 0
    assert file.read_bytes() == whole
    # Who has removed the weights of a finished run to save space still has its result.
    file.unlink()
    capsys.readouterr()
    assert run_command(lambda: train([*words, "--quiet"])) == 0
    assert not file.exists()
    said = capsys.readouterr().err
    assert said.startswith(f"note: {path} is finished, and its final.safetensors is gone: its result stays")
    assert said.endswith("delete its metrics.json to train it again\n")
    (path / "metrics.json").unlink()
    assert run_command(lambda: train([*words, "--quiet"])) == 0
    assert file.read_bytes() == whole


def test_every_changed_bit_of_a_result_is_told(run: RunFolder) -> None:
    file = run.path / "metrics.json"
    right, result = file.read_bytes(), run.result()
    for place in range(0, len(right), 7):
        flip(file, place, 1 << place % 7)
        with suppress(InvalidInput):
            assert run.result() == result, right[place - 20 : place + 20]  # white space
        file.write_bytes(right)
    accuracy = right.index(b'"all": ') + 7
    flip(file, accuracy, 1)
    with pytest.raises(
        InvalidInput, match=r"its values do not have the SHA-256 in it; delete it to finish the run again"
    ):
        run.result()
    for key in (b'"sha256"', b'"files"'):
        file.write_bytes(right.replace(key, key.upper()))
        with pytest.raises(InvalidInput, match="its values do not have the SHA-256 in it"):
            run.result()


def test_a_run_without_hashes_is_read_and_gets_them_when_it_is_measured(run: RunFolder, capsys: Any) -> None:
    older(run)
    assert run.result().files == {}
    assert run.final().keys()
    flip(run.path / LAST, -7)
    assert run.geometry(3).keys()
    assert run_command(lambda: measure([str(run.path)])) == 0
    assert run.result().files.keys() == {"final.safetensors", LAST}
    assert {len(hashes) for hashes in run.result().files.values()} == {1}
    assert run_command(lambda: confusion([str(run.path)])) == 0


def test_a_run_that_is_measured_again_is_whole_at_every_write(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = output.write
    final, geometry = ((run.path / name).read_bytes() for name in ("final.safetensors", LAST))

    def stopped(number: int) -> Callable[[Path, bytes], None]:
        remaining = iter(range(number))

        def write(path: Path, data: bytes) -> None:
            if next(remaining, None) is None:
                raise KeyboardInterrupt
            real(path, data)

        return write

    for number in range(4):
        monkeypatch.setattr(runs, "write", stopped(number))
        with pytest.raises(KeyboardInterrupt):  # with trailing spaces in the header both are other bytes, same tensors
            run.measured_again(3, padded(geometry, number + 1), padded(final, number + 1))
        assert run.final().keys()
        assert run.geometry(3).keys()
    monkeypatch.setattr(runs, "write", real)
    run.measured_again(3, geometry, final)
    assert {len(hashes) for hashes in run.result().files.values()} == {1}


def padded(data: bytes, number: int) -> bytes:
    """Give the same tensors in other bytes."""
    length = int.from_bytes(data[:8], "little")
    spaces = 8 * number
    return (length + spaces).to_bytes(8, "little") + data[8 : 8 + length] + b" " * spaces + data[8 + length :]


def test_keys_of_another_version_stay_when_a_run_is_measured(run: RunFolder) -> None:
    file = run.path / "metrics.json"
    file.write_bytes(sealed(json.loads(file.read_bytes()) | {"later": [1]}))
    run.measured_again(3, b"a", b"b")
    assert json.loads(file.read_bytes())["later"] == [1]
    assert run.result().last
