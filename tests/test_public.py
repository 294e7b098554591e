"""The public names of lpm and training: they exist, load when they are asked for, and hide no module."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

import lpm
import training
from tests.pages import ROOT, text

PACKAGES = [lpm, training]


def homes(package: ModuleType) -> dict[str, str]:
    """The module of each public name."""
    return {name: module for module, names in package._PUBLIC.items() for name in names.split()}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_what_their_modules_have(package: ModuleType) -> None:
    assert sorted(package.__all__) == sorted(homes(package))
    assert set(package.__all__) < set(dir(package))
    for name, module in homes(package).items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)
        assert vars(package)[name].__doc__, name
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_module(package: ModuleType) -> None:
    """``from lpm import solve`` gives the module, so the function of that name is public in its module only."""
    assert not {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_know_the_same_names(package: ModuleType) -> None:
    tree = ast.parse(text(f"{package.__name__}/__init__.py"))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == homes(package)


def test_importing_a_package_loads_nothing_of_it() -> None:
    code = "import sys, lpm, training; print(*sorted({'numpy', 'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_the_parts_need_numpy_and_torch_alone() -> None:
    """As docs/practice/parts.md says of an installation without dependencies."""
    others = "scipy cvxpy clarabel scs matplotlib rich jinja2 safetensors sklearn pyarrow PIL kornia plotly pandas"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({others.split()}))\n"  # import then raises ModuleNotFoundError
        "from training import *; print(BalancedMixedLabels, mixed_singleton)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("own", ["training.py", "training/"])
def test_a_script_called_training_meets_the_package_with_one_switch(own: str, tmp_path: Path) -> None:
    script = tmp_path / ("training.py" if own == "training.py" else "mine.py")
    (tmp_path / "training").mkdir(exist_ok=True) if own == "training/" else None
    if own == "training/":
        (tmp_path / "training/__init__.py").touch()
    script.write_text("from training import __all__\n")  # any name will do; this one loads no torch
    run = partial(subprocess.run, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": ""})
    failed = run([sys.executable, script.name])
    assert "cannot import name '__all__' from" in failed.stderr
    env = {"PYTHONPATH": str(ROOT)}
    assert run([sys.executable, "-P", script.name], env=env).returncode == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_lists_every_public_name(package: ModuleType) -> None:
    (listed,) = re.findall(
        rf"^## `{package.__name__}`\n(.*?)(?=^## |\Z)", text("docs/contribute/stable.md"), re.M | re.S
    )
    assert set(re.findall(r"`(\w+)`", "\n".join(line for line in listed.splitlines() if line.startswith("|")))) == {
        *package.__all__
    }
