"""Ctrl-C ends a command in one line, also while it imports; other programs keep their own handling of it."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lpm.console import signals
from tests.pages import text
from tests.started import ROOT, Command


@pytest.mark.parametrize("command", ["lpm.solve", "training.train", "figures", "paper_checks"])
def test_ctrl_c_while_a_command_imports_is_one_line(command: str, tmp_path: Path) -> None:
    slow = "import sys, time\nprint('imports', file=sys.stderr, flush=True)\ntime.sleep(600)\n"
    (tmp_path / "numpy.py").write_text(slow)
    started = Command(command, PYTHONPATH=str(tmp_path))
    started.says("imports\n")
    started.process.send_signal(signal.SIGINT)
    assert started.ends() == (130, "", "interrupted\n")


@pytest.mark.parametrize("package", ["lpm", "training", "figures", "paper_checks"])
def test_a_package_asks_for_that_before_it_imports_anything_else(package: str) -> None:
    _, *statements = ast.parse(text(f"{package}/__init__.py")).body  # after the docstring
    first = ["from lpm.console.signals import end_while_importing", "end_while_importing()"]
    assert [ast.unparse(statement) for statement in statements[:2]] == first


def test_a_program_that_imports_the_packages_keeps_its_handler() -> None:
    program = (
        "import signal, lpm, training, figures, paper_checks; print(signal.getsignal(2) is signal.default_int_handler)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"


def test_a_command_that_ignores_ctrl_c_goes_on_ignoring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-m"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signals.end_while_importing()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signals.end_while_importing()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        signals.raise_again()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
