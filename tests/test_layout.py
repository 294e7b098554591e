"""The layers of the house: which room may import which, and what each may bring along."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lpm", "paper_checks", "training", "figures", "benchmarks")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

MODEL = (
    "roots mixing pairs problem programs family targets losses frame coordinates bias stack solution recovery geometry"
)
SOLVERS = "orbits factored merged sdp"
LAYERS = {
    "lpm.console": "lpm.console",
    "the model": [f"lpm.{name}" for name in MODEL.split()],
    "lpm.interior_point": "lpm.interior_point",
    "lpm.many_groups": "lpm.many_groups",
    "the solvers": [f"lpm.{name}" for name in SOLVERS.split()],
    "lpm": "lpm",
    "paper_checks.paper": "paper_checks.paper",
    "what a run is": [
        *(
            f"training.{name}"
            for name in ("catalogue", "config", "experiments", "methods", "named", "published", "second_stage")
        ),
        *(name for name in MODULES if name.startswith(("training.choices", "training.registry"))),
    ],
    "training.data": "training.data",
    "training.sampling": "training.sampling",
    "training.model": "training.model",
    "training.distributed": "training.distributed",
    "training.store": "training.store",
    "training.batches": "training.batches",
    "training.run": "training.run",
    "training.options": ["training.options"],
    "training.jobs": "training.jobs",
    "training": "training",
    "what a claim is": [
        f"paper_checks.{name}" for name in ("claim", "interval", "lab", "ball", "ball_losses", "epochs", "runs")
    ],
    "paper_checks.claims": "paper_checks.claims",
    "paper_checks.beyond": "paper_checks.beyond",
    "paper_checks": "paper_checks",
    "figures": "figures",
    "benchmarks": "benchmarks",
}
"""From the ground up: a folder, or some modules of one. Each may import itself and what stands above it in this list."""

WITHOUT_TORCH = (
    "lpm",
    "paper_checks",
    "figures",
    "what a run is",
    "training.data",
    "training.store",
    "training.options",
)
"""Rooms that load no torch when they are imported."""
ALSO_WITHOUT_TORCH = (
    *(
        f"training.{name}"
        for name in (
            "train",
            "compare",
            "table",
            "confusion",
            "diagnose",
            "diagnosis",
            "predict",
            "export",
            "report",
            "split",
            "check",
            "measure",
            "posthoc",
            "stage2",
        )
    ),
    *("training.sampling.label_pairs", "training.sampling.shuffles", "training.distributed.torchrun"),
)


def layer(module: str) -> str:
    """The layer that a module belongs to: the one that names it, else that of its folder."""
    for name, members in LAYERS.items():
        if isinstance(members, list) and module in members:
            return name
    folder = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return folder


@cache
def imports(path: Path, *, at_import: bool = False) -> set[str]:
    """Dotted names that a module imports, but not those for type checking alone. at_import: at its top level only."""
    tree = ast.parse(path.read_text())
    checking = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {inner for node in checking for inner in ast.walk(node)}
    names: set[str] = set()
    for node in tree.body if at_import else ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path, *, at_import: bool = False) -> set[str]:
    """The modules of this project among them."""
    return {
        module
        for name in imports(path, at_import=at_import)
        for module in (name, name.rpartition(".")[0])
        if module in MODULES and (module == name or name not in MODULES)
    }


def packages(path: Path, *, at_import: bool = False) -> set[str]:
    """The first words of all that a module imports."""
    return {name.partition(".")[0] for name in imports(path, at_import=at_import)}


def test_every_module_stands_in_a_layer() -> None:
    assert {layer(module) for module in MODULES} == set(LAYERS)
    named = [module for members in LAYERS.values() if isinstance(members, list) for module in members]
    assert set(named) <= set(MODULES)


@pytest.mark.parametrize("room", LAYERS)
def test_no_arrow_points_upward(room: str) -> None:
    order = list(LAYERS)
    upward = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if layer(module) == room
        for other in ours(path)
        if order.index(layer(other)) > order.index(room)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    tuple(TopologicalSorter({module: ours(path) for module, path in MODULES.items()}).static_order())  # or CycleError


def test_the_console_knows_no_model_and_training_no_solver() -> None:
    for module, path in MODULES.items():
        known = {layer(other) for other in ours(path)}
        if layer(module) == "lpm.console":
            assert known <= {"lpm.console"}, module
        if module.startswith("training"):
            lpm = {room for room in known if room in ("the model", "the solvers") or room.startswith("lpm")}
            assert lpm <= {"lpm.console"}, module
            checks = {room for room in known if room.startswith("paper_checks") or room == "what a claim is"}
            assert checks <= {"paper_checks.paper"}, module


def test_the_solvers_share_no_code_but_the_model() -> None:
    solvers = set(LAYERS["the solvers"])
    for module in solvers:
        assert not ours(MODULES[module]) & (solvers - {module}), module


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("cvxpy", {"lpm.sdp", "benchmarks.peers"}),
        ("ray", {"lpm.console.engines"}),
        ("flint", {"paper_checks.ball", "paper_checks.ball_losses", "paper_checks.beyond.balls"}),
        ("torchvision", set()),
    ],
)
def test_a_heavy_package_has_one_home(package: str, homes: set[str]) -> None:
    assert {module for module, path in MODULES.items() if package in packages(path)} <= homes


def test_nothing_imports_the_tests_and_only_benchmarks_import_benchmarks() -> None:
    for module, path in MODULES.items():
        assert "tests" not in packages(path), module
        if not module.startswith("benchmarks"):
            assert "benchmarks" not in packages(path), module


def test_figures_load_drawing_packages_only_to_draw() -> None:
    for module, path in MODULES.items():
        if layer(module) == "figures":
            assert not packages(path, at_import=True) & {"matplotlib", "plotly", "rich"}, module


def test_what_needs_no_torch_loads_none() -> None:
    free = [m for m in MODULES if layer(m).startswith(WITHOUT_TORCH) or m in ALSO_WITHOUT_TORCH]
    code = f"import sys\nfor name in {free}: __import__(name)\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-500:]


def test_commands_do_not_load_cvxpy_or_torch() -> None:
    modules = (
        "lpm.solve, lpm.threshold, lpm.sweep, paper_checks.__main__, figures.__main__, figures.geometry, training.table"
    )
    code = f"import sys, {modules}; print(sorted({{'cvxpy', 'torch', 'matplotlib', 'ray'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_package_is_typed_and_says_what_it_is_for() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file(), package
    for path in MODULES.values():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("module", ["train", "compare", "predict", "table", "measure"])
def test_without_torch_a_command_says_what_to_install(module: str, tmp_path: Path) -> None:
    words = {"train": [], "compare": [], "predict": ["x", __file__], "table": ["8"], "measure": ["x"]}[module]
    code = (
        "import sys; sys.modules['torch'] = None\n"  # import then raises ModuleNotFoundError
        f"from lpm.console import cli; from training.{module} import main\n"
        f"sys.exit(cli.run(lambda: main({words})))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr == 'error: torch is not installed; pip install -c constraints.txt -e ".[train]" brings it\n'
    assert not list(tmp_path.iterdir())
