"""Commands start fast: what they import before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELP = """
import contextlib, importlib, io, sys

before = {module.partition(".")[0] for module in sys.modules}
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    importlib.import_module(sys.argv[1]).main(["--help"])
loaded = {module.partition(".")[0] for module in sys.modules} - before
print(*sorted(name for name in loaded - set(sys.stdlib_module_names) if not name.startswith("__")))
"""
"""What a command's --help imports beside Python's own modules."""


@pytest.mark.parametrize("command", ["solve", "sweep", "threshold", "cures"])
def test_help_imports_numpy_alone(command: str) -> None:
    done = subprocess.run([sys.executable, "-c", HELP, f"lpm.{command}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lpm", "numpy"]


def test_a_solve_imports_no_more() -> None:
    code = HELP.replace('["--help"]', '["--R", "10", "--quiet"]')
    done = subprocess.run([sys.executable, "-c", code, "lpm.solve"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lpm", "numpy"]
