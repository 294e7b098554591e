"""``python -m figures``: the choice of figures, --all, and how figures are written."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from figures import __main__ as command
from figures import fig4, geometry, store, style
from lpm.console import cli
from lpm.console.errors import InvalidInput
from training import table
from training.config import RunConfig
from training.methods import CLASSIFIERS, SAMPLERS
from training.named import METHODS
from training.store.runs import RunFolder
from training.train import main as train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]


def plot(rows: Sequence[style.Row]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.COLUMN_WIDTH, 2), layout="constrained")
    axis = figure.subplots()
    axis.plot([r["x"] for r in rows], [r["y"] for r in rows])
    axis.set_xlabel("a label in words")
    return figure


def test_a_figure_is_a_picture_a_vector_picture_and_its_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"x": 0.0, "y": 1 / 3, "z": None}, {"x": 1.0, "y": float("nan"), "z": "w"}]
    style.save(plot, rows, tmp_path, "one")
    png, pdf = (tmp_path / "one.png").read_bytes(), (tmp_path / "one.pdf").read_bytes()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (round(style.COLUMN_WIDTH * 200), 400)
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    with (tmp_path / "one.csv").open() as file:
        assert list(csv.reader(file)) == [["x", "y", "z"], ["0", "0.33333333", ""], ["1", "", "w"]]
    with pytest.raises(InvalidInput, match="has no rows to draw"):
        style.save(plot, [], tmp_path, "none")


def test_styles_differ_in_colour_and_in_dash_or_marker() -> None:
    samplers = [style.STYLES[name] for name in ("random", "CBS", "CAS", "LOM", "BMLS", "BMLS+MS", "random+MS")]
    assert len({s.colour for s in samplers}) == len({(str(s.dash), s.marker) for s in samplers}) == 7
    assert style.style_of("BMLS+FC") == style.STYLES["BMLS"]


def methods() -> list[str]:
    """Return the named methods, and every sampler with every classifier; with coverage at each ratio of figure 3."""
    names = [*METHODS]
    for sampler, classifier in itertools.product(SAMPLERS, CLASSIFIERS):
        loss = "dr" if classifier == "etf" else "ce"
        for ratio in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if sampler == "coverage" else (1.0,):
            try:
                names.append(RunConfig(sampler=sampler, classifier=classifier, loss=loss, coverage=ratio).method)
            except InvalidInput:  # ms-unordered with a sampler other than BMLS
                continue
    return list(dict.fromkeys(names))


def test_every_method_has_a_style_and_spare_styles_are_not_those_of_the_main_methods() -> None:
    names = methods()
    assert {"CBS+MS", "BMLS-all+FC", "BMLS+MS-all", "coverage 0.4+FC", "CAS+ETF+DR", "BMLS+MS-WETF+CE"} <= set(names)
    spare = {name: style.style_of(name) for name in names if name.removesuffix("+FC") not in style.STYLES}
    assert {s.marker for s in spare.values()}.isdisjoint(s.marker for s in style.STYLES.values())
    for name, given in spare.items():  # one figure shows methods that share the sampler, or the classifier
        sampler, _, classifier = name.partition("+")
        similar = [o for o in spare if o != name and (o.split("+")[0] == sampler or o.endswith(f"+{classifier}"))]
        assert given not in [spare[other] for other in similar], name


def test_spare_styles_differ_and_depend_on_the_name_alone() -> None:
    parts = style.SPARE_COLOURS, style.SPARE_DASHES, style.SPARE_MARKERS
    assert [len(set(part)) for part in parts] == [7, 5, 9]  # no common divisor: 7 * 5 * 9 styles
    # 1,076,423,171, the crc32 of the name, is 5 mod 7, 1 mod 5 and 5 mod 9
    assert style.style_of("CBS+MS") == style.Style("#1B2A6B", (0, (4, 1, 1, 1, 1, 1)), "d")
    seen = {style.style_of(f"method {n}") for n in range(5000)}
    assert len(seen) == 7 * 5 * 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig2", "--all"], "--all draws every figure and stands alone; drop 'fig2'"),
        (["--all", "--preset", "quick", "fig2"], "--all draws every figure and stands alone; drop 'fig2'"),
        (["fig2", "--all", "--epochs", "3"], "--all draws every figure and stands alone; drop 'fig2'"),
        (["geometry", "--imbalance", "1e300"], "imbalance = 1e+300 must lie in 1..1e9, n_max / n_min"),
        (["fig7"], "'fig7' is unknown, did you mean 'fig"),
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
    output = capsys.readouterr()
    assert status == 2
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_without_a_figure_they_are_listed(capsys: Any) -> None:
    for words in ([], ["--help"]):
        assert command.main(words) == 0
        text = capsys.readouterr().out
        assert re.findall(r"python -m figures ([\w-]+) ", text) == [*command.FIGURES, "--all"]


@pytest.mark.parametrize("words", [*([name] for name in command.FIGURES), ["--all"]], ids=str)
def test_help_comes_in_groups_with_defaults(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit):
        command.main([*words, "--help"])
    text = capsys.readouterr().out
    groups = re.findall(r"^(\w+):$", text, flags=re.MULTILINE)
    assert groups[0] == "options"
    assert groups[-1] == "output"
    assert ("runs" in groups) == (words == ["--all"] or words[0] in command.FIGURES_OF_RUNS)
    for described in re.split(r"\n  (?=--)", text)[1:]:
        if re.match(r"--[\w-]+ [A-Z]", described):
            assert "(default: " in re.sub(r"\s+", " ", described), described


def test_all_goes_on_past_what_cannot_be_drawn(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    asked: list[tuple[str, list[str]]] = []

    def draw(name: str, words: list[str], *, alone: bool) -> int:
        assert not alone
        asked.append((name, words))
        if name == "fig3":
            raise InvalidInput("6 of 6 runs are missing")
        return 0

    monkeypatch.setattr(command, "draw", draw)
    assert command.main(["--all", "--preset", "quick", "--out", str(tmp_path), "--store", "s"]) == 0
    assert [name for name, _ in asked] == list(command.FIGURES)
    for name, words in asked:
        given = ["--preset", "quick", "--out", str(tmp_path), "--store", "s"] if name in command.FIGURES_OF_RUNS else []
        assert words == [*given, "--out", str(tmp_path / f"figures-{name}")]  # the last --out counts
    *lines, following = capsys.readouterr().err.splitlines()
    assert lines == ["fig3: not drawn: 6 of 6 runs are missing"]
    assert following == f"next: open the pictures in {tmp_path}/figures-*"


def test_all_is_quiet_if_told(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    made: list[tuple[str, Path, bool]] = []

    class Module:
        def __init__(self, name: str) -> None:
            self.name = name

        def add_options(self, parser: cli.Parser) -> None:
            if self.name in command.FIGURES_OF_RUNS:
                store.add_options(parser)

        def make(self, options: Namespace, folder: Path) -> dict[str, Any]:
            made.append((self.name, options.out, options.quiet))
            return {}

    monkeypatch.setattr("importlib.import_module", lambda name: Module(name.removeprefix("figures.")))
    assert command.main(["--all", "--quiet", "--out", str(tmp_path), "--seeds", "0-1"]) == 0
    assert made == [(name.replace("-", "_"), tmp_path / f"figures-{name}", True) for name in command.FIGURES]
    assert capsys.readouterr() == ("", "")


def test_a_missing_package_is_one_line_and_status_2(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"  # import then raises ModuleNotFoundError
        "from figures.__main__ import main; from lpm.console import cli\n"
        f"sys.exit(cli.run(lambda: main(['fig2', '--out', {str(tmp_path / 'out')!r}])))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'error: fig2 needs torch; install it with pip install -c constraints.txt -e ".[train]"\n'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "package", "remedy"),
    [
        ("safetensors.numpy", "safetensors", '".[train]"'),
        ("sklearn.datasets", "sklearn", '".[train]"'),
        ("pyarrow", "pyarrow", '".[train]"'),
        ("matplotlib.figure", "matplotlib", "."),
    ],
)
def test_all_goes_on_past_a_missing_package(
    module: str, package: str, remedy: str, monkeypatch: Any, capsys: Any
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("importlib.import_module", missing)
    assert command.main(["--all"]) == 0
    reason = f"needs {package}; install it with pip install -c constraints.txt -e {remedy}"
    assert capsys.readouterr().err.splitlines() == [f"{n}: not drawn: {n} {reason}" for n in command.FIGURES]


def test_a_missing_module_of_ours_is_no_package_to_install(monkeypatch: Any) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"figures\.fig2"):
        command.main(["fig2"])


@pytest.mark.parametrize(
    ("dataset", "imbalance"),
    [("cifar10-lt", 100.0), ("cifar100-lt", 30.0), ("cifar10-lt", 12.3456789), ("digits-lt", 100.0)],
)
def test_the_advised_command_makes_the_runs_that_figures_4_and_geometry_look_for(
    dataset: str, imbalance: float, monkeypatch: Any, capsys: Any
) -> None:
    preset = "smoke" if dataset == store.DIGITS else "quick"
    setting = store.Setting(dataset, imbalance, preset, (0, 2), Path("my runs"))
    made: list[RunConfig] = []

    def train_all(configs: Sequence[RunConfig], options: Namespace, printed: bool = True) -> int:
        assert str(options.store) == "my runs"
        made.extend(configs)
        return 0

    def ready(configs: Sequence[RunConfig], options: Namespace, *, quiet: bool) -> str:
        return "data"

    monkeypatch.setitem(sys.modules, "training.jobs.train_all", Namespace(train_all=train_all))  # without torch
    monkeypatch.setitem(sys.modules, "training.jobs.prepare", Namespace(ready=ready))
    for wanted, numbers in ((fig4.METHODS, (8,)), (geometry.METHODS, (8, 4))):
        made.clear()
        for part in store.table_command(setting, *numbers).split(" && "):
            words = shlex.split(part)
            assert words[:2] == ["python", "-m"]
            assert {"training.table": table.main, "training.train": train}[words[2]](words[3:]) == 0
        configs = [c for method in wanted for c in store.configs(setting, method)]
        assert set(made) == set(configs)
    by_table = "training.table" in store.table_command(setting, 8)
    assert by_table == (imbalance == 100 and dataset != store.DIGITS)


def test_runs_of_the_digits_that_a_figure_lacks_are_trained_on_the_spot(tmp_path: Path) -> None:
    setting = store.Setting(store.DIGITS, 10.0, "smoke", (0,), tmp_path)
    wanted = [replace(c, epochs=1, warmup=0, width=4) for c in store.configs(setting, "BMLS+FC")]
    (run,) = store.finished_runs(wanted, setting, "no command")
    assert run.config == wanted[0]
    assert run.result().last["all"] > 0


def test_a_run_is_found_from_any_folder_but_not_under_another_name(tmp_path: Path, monkeypatch: Any) -> None:
    folder = RunFolder(tmp_path, RunConfig())
    folder.path.mkdir(parents=True)
    (folder.path / "config.json").write_text(json.dumps(asdict(folder.config)))
    (folder.path / "metrics.json").write_text("{}")
    (folder.path.parent / "seed-1").mkdir()
    monkeypatch.chdir(folder.path.parent / "seed-1")
    for path in ("../seed-0", "./../seed-0/", f"../../{folder.path.parent.name}/seed-0", str(folder.path)):
        assert store.read_run(Path(path)).path == folder.path
    (tmp_path / "link").symlink_to(folder.path.parent)
    with pytest.raises(InvalidInput, match="is a copy under another name"):
        store.read_run(tmp_path / "link" / "seed-0")


def test_a_folder_of_another_origin_is_left_alone(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert cli.run(lambda: command.main(["fig4", "--out", str(tmp_path)])) == 2
    assert "holds files of another origin" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]
