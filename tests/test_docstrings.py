"""The parts of a docstring that ruff does not check: every parameter, every field, the result, and the errors raised."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lpm", "paper_checks", "training", "figures", "benchmarks")
FILES = [
    str(path.relative_to(ROOT)) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
]  # fmt: skip
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Note|Example|Examples):$", flags=re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sections(node: ast.AST) -> dict[str, set[str]]:
    """The names that each section of a docstring explains, one per line."""
    text = ast.get_docstring(node) or ""  # type: ignore[arg-type]
    _, *parts = SECTION.split(text)
    return {
        name: set(re.findall(r"^ {4}\*{0,2}(\w+):", body, flags=re.MULTILINE))
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def parameters(function: Function, *, method: bool) -> list[str]:
    """The parameters of a function, without ``self``, ``cls`` and the unused ``_``."""
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    names = names[1:] if method and not static else names
    names += [argument.arg for argument in (given.vararg, *given.kwonlyargs, given.kwarg) if argument]
    return [name for name in names if name != "_"]


def raises_invalid_input(function: Function) -> bool:
    """Whether a function itself, and none inside it, raises InvalidInput and does not catch it."""
    pending = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, Function | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).startswith("InvalidInput("):
            return True
        pending += ast.iter_child_nodes(node)
    return False


def result_sections(function: Function, *, method: bool) -> set[str]:
    """The sections that may explain a function's result; none if its first line is enough."""
    decorators = {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in function.decorator_list}
    returned = "None" if function.returns is None else ast.unparse(function.returns)
    if returned in ("None", "NoReturn") or decorators & {"property", "cached_property", "check"}:
        return set()
    if "contextmanager" in decorators:
        return {"Yields"}
    one_line = len((ast.get_docstring(function) or "").splitlines()) <= 1
    return set() if one_line and not parameters(function, method=method) else {"Returns", "Yields"}


def fields(node: ast.ClassDef) -> list[str]:
    """The public fields of a dataclass, named tuple, protocol or typed dictionary."""
    decorated = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    derived = {ast.unparse(base).partition("[")[0] for base in node.bases} & {"NamedTuple", "Protocol", "TypedDict"}
    if not (decorated or derived):
        return []
    annotated = [line for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
    named = [line for line in annotated if "ClassVar" not in ast.unparse(line.annotation) and not says_itself(line)]
    return [name for line in named if not (name := line.target.id).startswith("_")]  # type: ignore[union-attr]


def says_itself(field: ast.AnnAssign) -> bool:
    """Whether a field has its meaning in its own metadata, as those of RunConfig have."""
    words = field.value.args if isinstance(field.value, ast.Call) else []
    return any(isinstance(word, ast.Constant) and " " in str(word.value) for word in words)


def in_function(function: Function, name: str, bases: list[str]) -> Iterator[str]:
    """What the docstring of a public function or method lacks."""
    explained = sections(function)
    text = ast.get_docstring(function) or ""
    overridden = ":meth:" in text or any(base in text for base in bases)
    names = [] if overridden else parameters(function, method="." in name)
    if missing := [parameter for parameter in names if parameter not in explained.get("Args", set())]:
        yield f"{name}: Args lack {', '.join(missing)}"
    wanted = set() if overridden else result_sections(function, method="." in name)
    if wanted and not wanted & explained.keys():
        yield f"{name}: lacks {' or '.join(sorted(wanted))}"
    if raises_invalid_input(function) and "InvalidInput" not in explained.get("Raises", set()):
        yield f"{name}: Raises lacks InvalidInput"


def in_class(node: ast.ClassDef) -> Iterator[str]:
    """What the docstring of a public class lacks, and those of its public methods."""
    explained = sections(node)
    if missing := [field for field in fields(node) if field not in explained.get("Attributes", set())]:
        yield f"{node.name}: Attributes lack {', '.join(missing)}"
    bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
    for function in node.body:
        if not isinstance(function, Function):
            continue
        if function.name == "__init__":
            names = parameters(function, method=True)
            if missing := [name for name in names if name not in explained.get("Args", set())]:
                yield f"{node.name}: Args lack {', '.join(missing)}"
        if function.name in ("__init__", "__post_init__"):
            if raises_invalid_input(function) and "InvalidInput" not in explained.get("Raises", set()):
                yield f"{node.name}: Raises lacks InvalidInput"
        elif not function.name.startswith("_"):
            yield from in_function(function, f"{node.name}.{function.name}", bases)


def lacking(tree: ast.Module) -> Iterator[str]:
    """What the docstrings of a module lack."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield from in_class(node) if isinstance(node, ast.ClassDef) else in_function(node, node.name, [])


@pytest.mark.parametrize("file", FILES)
def test_docstrings_name_every_parameter_field_result_and_error(file: str) -> None:
    assert list(lacking(ast.parse((ROOT / file).read_text()))) == []


@pytest.mark.parametrize(
    ("source", "lack"),
    [
        ('def f(a):\n    """Do.\n\n    Args:\n        a: a.\n    """', []),
        ('def f(a) -> int:\n    """Do.\n\n    Args:\n        a: a.\n    """', ["f: lacks Returns or Yields"]),
        ('def f(a) -> int:\n    """Do.\n\n    Args:\n        a: a.\n\n    Returns:\n        b.\n    """', []),
        ('def f() -> int:\n    """Return b."""', []),
        ('def f() -> int:\n    """Return b.\n\n    More.\n    """', ["f: lacks Returns or Yields"]),
        ('@contextmanager\ndef f() -> Iterator[int]:\n    """Open."""', ["f: lacks Yields"]),
        ('class A:\n    """A."""\n    @property\n    def f(self) -> int:\n        """A.\n\n        B."""', []),
        ('class A(B):\n    """A."""\n    def f(self, a) -> int:\n        """Do as :class:`B`."""', []),
    ],
)
def test_results_need_a_section(source: str, lack: list[str]) -> None:
    assert list(lacking(ast.parse(source))) == lack
