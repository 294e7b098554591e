"""Words and sentences: the worst patterns of docs/contribute/style.md do not come back."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize

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

THIS = "tests/test_style.py"
SOURCES = sorted(
    path
    for package in ("lpm", "training", "paper_checks", "figures", "benchmarks", "tests", "docs")
    for path in (ROOT / package).rglob("*.py")
    if str(path.relative_to(ROOT)) != THIS  # its patterns and examples are the retired words
)
WRITTEN = [
    *("pyproject.toml", "mkdocs.yml", "Makefile", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *(
        str(path.relative_to(ROOT))
        for folder in ("figures/templates", "paper_checks")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".html", ".js", ".css", ".toml")
    ),
]

EXCEPTIONS = {
    # The name of a quantity in the rows of results/scale-benchmark.csv, which are committed.
    "benchmarks/scale.py": {"images a batch"},
}


def _prose(markdown: str) -> str:
    """Text without code, formulas and links' targets."""
    prose = re.sub(r"```.*?```|\$\$.*?\$\$", "", markdown, flags=re.DOTALL)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith("    "))
    return re.sub(r"\]\([^)]*\)", "]", prose)


def _unwrapped(block: str) -> str:
    """Text whose sentences do not break at the end of a line."""
    return re.sub(r"(?<=\S) *\n *(?=\S)", " ", block)


def _strings(source: str) -> list[str]:
    """All string constants with the docstrings; the values of an f-string are replaced by x."""
    tree = ast.parse(source)
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    pieces = {id(piece) for node in formatted for piece in node.values if isinstance(piece, ast.Constant)}
    strings = [
        "".join(str(piece.value) if isinstance(piece, ast.Constant) else "x" for piece in node.values)
        for node in formatted
    ]
    return strings + [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces
    ]


def _comments(source: str) -> str:
    """The comments, one after the other, so that a sentence of several lines stays together."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string.lstrip("#: ") for token in tokens if token.type == tokenize.COMMENT)


def _texts(source: str) -> list[str]:
    """All text for readers in a Python file: string constants, docstrings and comments."""
    return [_unwrapped(inspect.cleandoc(block)) for block in (*_strings(source), _comments(source))]


def _worst(prose: str) -> list[str]:
    return [f"{name}: {match.group()!r}" for name, pattern in PATTERNS.items() for match in pattern.finditer(prose)]


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in PAGES if path.name != "style.md"])
def test_pages_have_none_of_the_worst_patterns(page: str) -> None:
    assert _worst(_prose(text(page))) == []


@pytest.mark.parametrize("file", [str(path.relative_to(ROOT)) for path in SOURCES])
def test_strings_docstrings_and_comments_have_none_of_the_worst_patterns(file: str) -> None:
    exceptions = EXCEPTIONS.get(file, set())
    texts = [block for block in _texts(text(file)) if block not in exceptions]
    assert [worst for block in texts for worst in _worst(block)] == []


@pytest.mark.parametrize("file", WRITTEN)
def test_templates_and_settings_have_none_of_the_worst_patterns(file: str) -> None:
    assert _worst(_unwrapped(text(file))) == []


def test_exceptions_are_needed() -> None:
    unused = {(file, block) for file, blocks in EXCEPTIONS.items() for block in blocks - set(_texts(text(file)))}
    assert unused == set()


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


def test_patterns_are_found_in_strings_docstrings_and_comments() -> None:
    for source in (
        '"""A folder\na class."""',
        'def f():\n    """Do.\n\n    Of these, two.\n    """',
        'raise ValueError(f"{x} is taken for {y}")',
        "x = 1  # Of these, two.",
        "# Images of a folder\n# a class.",
    ):
        assert [worst for block in _texts(source) for worst in _worst(block)], source
