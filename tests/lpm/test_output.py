"""Output appears whole or not at all, also where a process is killed or a disk is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from figures import style
from lpm import sweep
from lpm.console import cli, output
from lpm.console.errors import InvalidInput
from lpm.console.output import OutputFolder

ROOT = Path(__file__).parents[2]


def made(folder: Path, content: str, tool: str = "tool") -> None:
    with OutputFolder(folder, tool) as made:
        (made.path / "rows.csv").write_text(content)
        made.finish({})


def killed(folder: Path, before: str) -> None:
    """Make the folder again in a process that is killed before a call of a function, ``replace`` or ``rmtree``."""
    code = f"""
import os, shutil, signal, sys
from pathlib import Path
from lpm.console import output
out = Path(sys.argv[1])
def dies(module, name, at):
    real = getattr(module, name)
    def call(*words, **options):
        if at(*words):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **options)
    setattr(module, name, call)
{before}
with output.OutputFolder(out, "tool") as folder:
    (folder.path / "rows.csv").write_text("new")
    folder.finish({{}})
"""
    ended = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL


BETWEEN = "dies(os, 'replace', lambda a, b: Path(b) == out)"
AFTER = "dies(output, '_remove', lambda folder: True)"
AMID = "dies(shutil, 'rmtree', lambda folder, **options: '.old-' in str(folder))"


def test_a_complete_folder_that_a_kill_left_without_its_name_gets_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, "old")
    killed(out, BETWEEN)
    assert not out.exists()
    with OutputFolder(out, "tool"):  # a command that fails
        assert (out / "rows.csv").read_text() == "new"
    assert sorted(entry.name for entry in out.iterdir()) == ["manifest.json", "rows.csv"]
    killed(out, BETWEEN)
    made(out, "newest")
    assert (out / "rows.csv").read_text() == "newest"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_older_folder_gets_its_name_back_if_the_new_one_is_not_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, "old")
    killed(out, BETWEEN)
    (left,) = tmp_path.glob(".out.tool-*")
    (left / "manifest.json").unlink()
    with OutputFolder(out, "tool"):
        assert (out / "rows.csv").read_text() == "old"
        assert not left.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


AT_ONCE = "dies(output, 'provenance', lambda: True)"


def test_what_a_killed_command_has_written_is_removed_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        killed(out, AT_ONCE)
        assert len(list(tmp_path.glob(".out.tool-*/rows.csv"))) == 1
    with OutputFolder(out, "tool") as alive, OutputFolder(out, "tool") as other:
        assert alive.path.exists()  # its process lives
        assert sorted(tmp_path.iterdir()) == sorted([alive.path, other.path])
        assert other.files == []
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_kept_outlives_a_kill_a_failure_and_an_incomplete_end(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def texts(folder: OutputFolder) -> list[str]:
        return [path.read_text() for path in folder.earlier if path.exists()]

    def fails() -> None:
        with OutputFolder(out, "tool", keeps="log") as folder:
            (folder.path / "log").write_text("1")
            (folder.path / "rows.csv").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert [path.name for path in tmp_path.glob(".out.tool-*/[!.]*")] == ["log"]
    with OutputFolder(out, "tool", keeps="log") as folder:
        assert texts(folder) == ["1"]
        (folder.path / "log").write_text("2")
        folder.finish({}, complete=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert sorted(entry.name for entry in out.iterdir()) == ["log", "manifest.json"]
    with OutputFolder(out, "tool", keeps="log") as folder:
        assert texts(folder) == ["2"]
        (folder.path / "log").write_text("3")
        folder.finish({})
    assert [entry.name for entry in out.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("before", [AFTER, AMID])
def test_what_a_kill_left_of_a_replaced_folder_is_removed(before: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, "old")
    killed(out, before)
    assert (out / "rows.csv").read_text() == "new"
    assert len(list(tmp_path.glob(".out.old-*"))) == 1
    with OutputFolder(out, "tool"):
        assert not list(tmp_path.glob(".out.old-*"))
    assert (out / "rows.csv").read_text() == "new"


def test_folders_of_others_and_of_living_processes_stay(tmp_path: Path) -> None:
    out, alive = tmp_path / "out", tmp_path / f".out.old-{os.getppid()}"
    made(alive, "alive")
    made(tmp_path / ".out.old-999999998", "another tool's", tool="another")
    (tmp_path / ".out.old-999999999").mkdir()
    (tmp_path / ".out.old-999999999" / "mine.txt").write_text("mine")
    (tmp_path / ".out.old-x").symlink_to(alive)
    before = sorted(tmp_path.rglob("*"))
    with OutputFolder(out, "tool"):
        assert not out.exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_pipe_under_the_name_of_the_manifest_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from lpm.console import output; output.OutputFolder(output.Path({str(tmp_path)!r}), 't')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "holds files of another origin (manifest.json)" in said.stderr


def test_an_error_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    made(out, "old")
    real = os.replace

    def interrupted(a: Path, b: Path) -> None:
        if Path(b) == out and ".old-" not in str(a):
            raise KeyboardInterrupt
        real(a, b)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(out, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (out / "rows.csv").read_text() == "old"


def full(*words: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_line_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(os, "fsync", full)  # where a small disk tells that it is full
    out = tmp_path / "o"
    assert cli.run(lambda: sweep.main(["--K", "4", "--points", "3", "--out", str(out), "--quiet"])) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: [Errno 28] No space left on device: ")
    assert (str(tmp_path) in error, error.count("\n")) == (True, 1)
    (left,) = tmp_path.iterdir()
    assert {file.name for file in left.iterdir()} == {sweep.JOURNAL, output.LOCK}


@pytest.mark.parametrize("ending", ["csv", "pdf", "png"])
def test_pictures_are_drawn_in_memory_and_written_whole(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    real = output.write

    def write(path: Path, data: bytes) -> None:
        if path.suffix == f".{ending}":
            full()
        real(path, data)

    monkeypatch.setattr(style, "write", write)
    with pytest.raises(OSError, match="No space left"):
        style.save(lambda rows: Figure(), [{"a": 1}], tmp_path, "f")
    names = ["f.csv", "f.pdf", "f.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names[: names.index(f"f.{ending}")]


def test_an_error_of_the_disk_without_a_name_gets_that_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*out'"), OutputFolder(tmp_path / "out", "tool"):
        full()
    with pytest.raises(OSError, match="another"), OutputFolder(tmp_path / "out", "tool"):
        raise OSError("another")
    with pytest.raises(InvalidInput), OutputFolder(tmp_path / "out", "tool"):
        raise InvalidInput("x")


def test_several_files_get_their_names_last_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, real = list[str](), os.replace

    def replace(a: Path, b: Path) -> None:
        names.append(b.name)
        assert len(list(tmp_path.iterdir())) == 2
        real(a, b)

    monkeypatch.setattr(os, "replace", replace)
    output.write_all([(tmp_path / "b", b"2"), (tmp_path / "a", b"1")])
    assert names == ["b", "a"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"2", b"1"]
