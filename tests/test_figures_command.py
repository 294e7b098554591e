"""``python -m figures``: the choice of figures, --all, and how figures are written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from figures import __main__ as command
from figures import style
from lpm import cli
from lpm.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(rows: Sequence[style.Row]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.COLUMN, 2), layout="constrained")
    axis = figure.subplots()
    axis.plot([r["x"] for r in rows], [r["y"] for r in rows])
    axis.set_xlabel("a label in words")
    return figure


def test_a_figure_is_a_picture_a_vector_picture_and_its_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"x": 0.0, "y": 1 / 3, "z": None}, {"x": 1.0, "y": float("nan"), "z": "w"}]
    style.save(plot, rows, tmp_path, "one")
    png, pdf = (tmp_path / "one.png").read_bytes(), (tmp_path / "one.pdf").read_bytes()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (round(style.COLUMN * 200), 400)
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    with (tmp_path / "one.csv").open() as file:
        assert list(csv.reader(file)) == [["x", "y", "z"], ["0", "0.33333333", ""], ["1", "", "w"]]
    with pytest.raises(InvalidInput, match="has no rows to draw"):
        style.save(plot, [], tmp_path, "none")


def test_looks_differ_in_colour_and_in_dash_or_marker() -> None:
    samplers = [style.LOOKS[name] for name in ("random", "CBS", "CAS", "LOM", "BMLS", "BMLS+MS", "random+MS")]
    assert len({s.colour for s in samplers}) == len({(str(s.dash), s.marker) for s in samplers}) == 7
    assert style.look("BMLS+FC") == style.LOOKS["BMLS"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig7"], "'fig7' is unknown, did you mean 'fig"),
        ([], "the following arguments are required: FIGURE"),
        (["fig2", "--epoch", "3"], "did you mean '--epochs'"),
        (["fig4", "--preset", "slow"], "'slow' is unknown"),
        (["geometry", "nowhere"], "'nowhere' is not a run"),
        (["--all", "--presets", "quick"], "did you mean '--preset'"),
    ],
)
def test_bad_use_is_one_line_and_status_2(words: list[str], message: str, capsys: Any, monkeypatch: Any) -> None:
    try:
        status = cli.run(lambda: command.main(words))
    except SystemExit as end:
        status = int(str(end.code))
    said = capsys.readouterr()
    assert status == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_all_goes_on_past_what_cannot_be_drawn(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    asked: list[tuple[str, list[str]]] = []

    def draw(name: str, words: list[str]) -> int:
        asked.append((name, words))
        if name == "fig3":
            raise InvalidInput("6 of 6 runs are missing")
        return 0

    monkeypatch.setattr(command, "draw", draw)
    assert command.main(["--all", "--preset", "quick", "--out", str(tmp_path), "--store", "s"]) == 0
    assert [name for name, _ in asked] == list(command.FIGURES)
    for name, words in asked:
        shared = ["--preset", "quick", "--store", "s"] if name in command.OF_RUNS else []
        assert words == [*shared, "--out", str(tmp_path / f"figures-{name}")]
    assert capsys.readouterr().err == "fig3: not drawn: 6 of 6 runs are missing\n"


def test_a_folder_of_another_origin_is_left_alone(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert cli.run(lambda: command.main(["fig4", "--out", str(tmp_path)])) == 2
    assert "holds files of another origin" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]
