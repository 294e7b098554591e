"""Words from files reach terminals and tables as harmless text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lpm import solve
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.text import counted, markdown, shown

EVIL = "a\x1b[31m\nb\x07\u202e\x9b\ud800"


def test_a_terminal_shows_every_character_and_obeys_none() -> None:
    assert shown(EVIL) == r"a\x1b[31m b\x07\u202e\x9b\ud800"
    assert shown("χ, 图 ± 'é' \\x") == "χ, 图 ± 'é' \\x"
    assert shown(InvalidInput(EVIL), 5) == r"a\x1b"
    assert shown(Path("x\ty")) == "x y"
    for code in range(0x110000):
        assert shown(chr(code)).isprintable(), code


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<script>x</script>", r"\<script\>x\</script\>"),
        ("![x](y)", r"!\[x\](y)"),
        ("`rm`", r"\`rm\`"),
        ("**bold** *i*", r"\*\*bold\*\* \*i\*"),
        ("+0.30 *", "+0.30 *"),
        ("_i_ class_a __b__", r"\_i\_ class_a \_\_b\_\_"),
        ("&lt; R&D &#60;", r"\&lt; R&D \&#60;"),
        ("~~x~~ a\\|b", r"\~\~x\~\~ a\\\|b"),
        ("a\nb", "a b"),
        ("72.10 ± 0.30 (3)", "72.10 ± 0.30 (3)"),
        ("---", "---"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, escaped: str) -> None:
    assert markdown(text) == escaped


def test_cells_of_a_table_stay_in_their_columns() -> None:
    table = cli.markdown_table([["class"], ["---"], ["x | y\n| z <b>"]])
    assert table == "| class |\n| --- |\n| x \\| y \\| z \\<b\\> |\n"


@pytest.mark.parametrize("error", [InvalidInput(EVIL), OSError(28, EVIL)])
def test_errors_are_one_printable_line(error: Exception, capsys: Any) -> None:
    def main() -> int:
        raise error

    assert cli.run(main) in (1, 2)
    said = capsys.readouterr().err
    assert (said.count("\n"), said.strip().isprintable()) == (1, True)


def test_errors_of_options_are_one_printable_line(capsys: Any) -> None:
    for words in (["--\x1b[31mx"], ["\x1b[31m"], ["--K", "\x1b[31m\n"], ["--program", "\x1b[31m"]):
        with pytest.raises(SystemExit):
            solve.main(words)
        said = capsys.readouterr().err
        assert (said.count("\n"), said.strip().isprintable()) == (1, True)


def test_one_thing_has_no_s() -> None:
    assert [counted(n, "image") for n in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
    assert counted(2, "class", "classes") == "2 classes"
