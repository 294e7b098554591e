"""Who may import whom, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "lpm").glob("*.py"))
CHECKS = sorted((ROOT / "paper_checks").rglob("*.py"))
TRAINING = sorted((ROOT / "training").glob("*.py"))
FIGURES = sorted((ROOT / "figures").glob("*.py"))
TORCH_FREE = {
    "cifar",
    "config",
    "experiments",
    "metrics",
    "runs",
    "tables",
    "datasets",
    "images",
    "label_pairs",
    "lists",
    "list_rows",
    "compare",
    "predict",
    "shuffles",
    "split",
    "torchrun",
    "untrusted",
}
SOLVERS = {"orbits", "factored", "sdp", "merged"}


def imports(path: Path) -> set[str]:
    """Dotted names of everything a module imports, at any depth of its code, but for type checking only."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    checking = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {inner for node in checking for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_lpm_depends_on_nothing_of_ours_and_not_on_torch(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"training", "figures", "paper_checks", "benchmarks", "tests", "torch"}
    if path.stem != "sdp":
        assert "cvxpy" not in tops
    if path.stem in SOLVERS:
        assert not {f"lpm.{other}" for other in SOLVERS - {path.stem}} & imports(path)


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_paper_checks_depends_on_lpm_and_on_torch_nowhere_at_import(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"figures", "benchmarks", "tests", "cvxpy"}
    top_level = {
        name.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import) for name in node.names
    }
    assert "torch" not in top_level
    if path.stem != "ball":
        assert "flint" not in tops


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_training_needs_no_solver_and_its_records_no_torch(path: Path) -> None:
    names = imports(path)
    tops = {name.split(".")[0] for name in names}
    assert not tops & {"cvxpy", "figures", "benchmarks", "tests"}
    assert {name for name in names if name.startswith("lpm.")} <= {
        f"lpm.{m}" for m in ("cli", "engines", "errors", "output")
    } | {
        "lpm.errors.InvalidInput",
        "lpm.errors.install",
        "lpm.output.provenance",
        "lpm.output.write",
    }
    shared = {"tables": "paper_checks.paper_tables", "compare": "paper_checks.holm"}.get(path.stem)
    assert all(name == shared or name.startswith(f"{shared}.") for name in names if name.startswith("paper_checks"))
    if path.stem in TORCH_FREE:
        assert "torch" not in tops


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_figures_draw_from_rows_and_load_torch_and_matplotlib_only_to_train_or_draw(path: Path) -> None:
    names = imports(path)
    assert not {name.split(".")[0] for name in names} & {"benchmarks", "tests", "cvxpy", "torch"}
    top: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            top |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            top.add(node.module)
    assert not {name for name in top if name.split(".")[0] in ("matplotlib", "plotly", "rich")}
    with_torch = {f"training.{p.stem}" for p in TRAINING if "torch" in {n.split(".")[0] for n in imports(p)}}
    assert not top & with_torch


def test_ray_is_imported_in_one_place_for_all() -> None:
    everything = SOURCES + CHECKS + TRAINING + FIGURES
    assert [path.stem for path in everything if "ray" in imports(path)] == ["engines"]


def test_commands_do_not_load_cvxpy_or_torch() -> None:
    modules = (
        "lpm.solve, lpm.threshold, lpm.sweep, paper_checks.__main__, figures.__main__, figures.geometry, training.table"
    )
    code = f"import sys, {modules}; print(sorted({{'cvxpy', 'torch', 'matplotlib', 'ray'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_public_name_has_a_docstring() -> None:
    bare = []
    for path in SOURCES + CHECKS + TRAINING + FIGURES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and node.name != "main" and not ast.get_docstring(node):
                bare.append(f"{path.stem}.{node.name}")
    assert bare == []


@pytest.mark.parametrize("module", ["train", "compare", "predict", "table", "measure"])
def test_without_torch_a_command_says_what_to_install(module: str, tmp_path: Path) -> None:
    words = {"train": [], "compare": [], "predict": ["x", __file__], "table": ["8"], "measure": ["x"]}[module]
    code = (
        "import sys; sys.modules['torch'] = None\n"  # import then raises ModuleNotFoundError
        f"from lpm import cli; from training.{module} import main\n"
        f"sys.exit(cli.run(lambda: main({words})))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr == 'error: torch is not installed; pip install -c constraints.txt -e ".[train]" brings it\n'
    assert not list(tmp_path.iterdir())
