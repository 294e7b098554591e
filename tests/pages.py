"""The README and the pages of docs/ as their readers meet them: their code, their commands, the paths that they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def text(page: str) -> str:
    """Return the text of a page, given its path from the root of the repository."""
    return (ROOT / page).read_text()


def code(page: str) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", text(page), flags=re.DOTALL)


def shell_lines(page: str) -> list[str]:
    """Return the lines of a page that a reader types into a shell: the indented ones, outside of Python."""
    outside = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    return [line.strip() for line in outside.splitlines() if line.startswith("    ")]


def commands(page: str) -> list[list[str]]:
    """Return the words of every ``python -m`` and ``torchrun`` command of a page, variables and loops of the shell filled in."""
    variables: dict[str, str] = {}
    lines = []
    for line in shell_lines(page):
        if assigned := re.fullmatch(r'(\w+)="(.*)"', line):
            variables[assigned.group(1)] = assigned.group(2)
        elif loop := re.fullmatch(r"for (\w+) in (\S+).*; do (.*); done", line):
            lines.append(loop.group(3).replace("$" + loop.group(1), loop.group(2)))
        else:
            lines.append(line)
    lines += re.findall(r"`([^`\n]*python -m [\w.]+ [^`\n]+)`", text(page))
    word_lists = []
    for line in lines:
        for name, value in variables.items():
            line = re.sub(rf"\${name}\b", value, line)
        for part in re.split(r" && | \| | 2>&1 | > |; ", line):
            words = shlex.split(part, comments=True) if " -m " in part else []
            if words and not {"pip", "venv", "pytest"} & set(words):
                word_lists.append(words[words.index("-m") + 1 :])
    return word_lists
