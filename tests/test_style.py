"""Words and sentences: the worst patterns of docs/contribute/style.md do not come back."""

from __future__ import annotations

import ast
import re

import pytest

from tests.pages import PAGES, ROOT, text

HELD = "folder|file|row|line|list|task|runs?|process|panel|point|module|marker|figure|cell|λ|ratio|batch|images?|seeds?|thread"
HOLDER = (
    "class|solve|run|seed|batch|image|pair|line|claim|data set|point|epoch|program|figure|method|label pair|visit|row"
)

RETIRED = {
    "a fragment that begins with 'Of'": r"(?:^|[.:;] |\| )Of (?!course)",
    "taken for": r"\b(?:is|are|was|were) taken for\b|\btaken for\b",
    "twins": r"\btwins?\b",
    "has no meaning": r"\b(?:has|have) no meaning\b",
    "is a look": r"\bis a look\b",
    "add_up": r"\badd_up\b",
    "as people have it": r"\bpeople have (?:it|them)\b",
    "an X a Y": rf"\b(?:{HELD}) an? (?:{HOLDER})\b(?! of)",
}
PATTERNS = {name: re.compile(pattern, re.MULTILINE) for name, pattern in RETIRED.items()}

SOURCES = sorted(
    path
    for package in ("lpm", "training", "paper_checks", "figures", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
)


def _prose(markdown: str) -> str:
    """Text without code, formulas and links' targets."""
    prose = re.sub(r"```.*?```|\$\$.*?\$\$", "", markdown, flags=re.DOTALL)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith("    "))
    return re.sub(r"\]\([^)]*\)", "]", prose)


def _docstrings(source: str) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def _worst(prose: str) -> list[str]:
    return [f"{name}: {found.group()!r}" for name, pattern in PATTERNS.items() for found in pattern.finditer(prose)]


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in PAGES if path.name != "style.md"])
def test_pages_have_none_of_the_worst_patterns(page: str) -> None:
    assert _worst(_prose(text(page))) == []


def test_docstrings_have_none_of_the_worst_patterns() -> None:
    worst = {str(path.relative_to(ROOT)): _worst("\n".join(_docstrings(path.read_text()))) for path in SOURCES}
    assert {path: found for path, found in worst.items() if found} == {}


def _sentences(markdown: str) -> list[str]:
    """Sentences of paragraphs and lists; tables are left out."""
    prose = re.sub(r"`[^`]*`|!\[[^\]]*\]", "x", _prose(markdown))
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "#"))]
    blocks = re.split(r"\n\s*\n|\n(?=- )", "\n".join(lines))
    return [
        sentence.strip()
        for block in blocks
        for sentence in re.split(r"(?<=[.:!?])\*{0,2}\s+", block)
        if sentence.strip()
    ]


def test_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= 150
    assert [sentence for sentence in _sentences(text("README.md")) if len(sentence.split()) > 25] == []


def test_patterns_find_what_they_are_for() -> None:
    for words in (
        "Of these, two.",
        "images are taken for cats",
        "a folder a class holds images",
        "one row a solve",
        "It is a look.",
    ):
        assert _worst(words), words
    assert _worst("One folder per class. A run of course ends, as a row of the table.") == []
