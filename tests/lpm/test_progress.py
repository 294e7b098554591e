"""Signs of life of a command with many steps."""

from __future__ import annotations

import io
import sys

import pytest

from lpm.console import progress


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 6))  # six seconds per step
    monkeypatch.setattr(progress, "monotonic", lambda: float(next(clock)))
    with progress.steps(1200) as step:
        for number in range(6):
            step(f"fc {number}")
    assert capsys.readouterr() == (
        "", "fc 2: 3 of 1,200, 18 s, 7182 s left\nfc 5: 6 of 1,200, 36 s, 7164 s left\n"
    )  # fmt: skip


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    with progress.steps(2, quiet=True) as step:
        step("x")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "drawn"),
    [
        (Terminal, {}, True),
        (Terminal, {progress.NOTEBOOK: "1", "FORCE_COLOR": "1"}, False),  # a cell of Jupyter
        (io.StringIO, {}, False),
        (io.StringIO, {"FORCE_COLOR": "1"}, False),
        (io.StringIO, {"TTY_COMPATIBLE": "1"}, True),
    ],
)
def test_a_bar_is_drawn_on_a_terminal_alone(
    stream: type[io.StringIO], variables: dict[str, str], drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar is what control characters tell."""
    for name in (progress.NOTEBOOK, "FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream())
    with progress.steps(2) as step:
        step("plain")
    assert ("\x1b" in sys.stderr.getvalue()) == drawn  # type: ignore[attr-defined]


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_tracked_batches_are_passed_on_and_counted_on_a_terminal_alone(
    stream: type[io.StringIO], quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-color")
    for name in (progress.NOTEBOOK, "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    monkeypatch.setattr(sys, "stderr", stream())
    batches = [[1, 2], [3]]
    assert list(progress.tracked(iter(batches), 3, "test images", size=len, quiet=quiet)) == batches
    said = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert (("test images" in said), ("3/3" in said)) == ((stream is Terminal and not quiet),) * 2


def test_a_terminal_shows_a_bar_with_the_time_left_of_slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.progress

    now = [0.0]
    terminal, made = Terminal(), list[rich.progress.Progress]()
    real = rich.progress.Progress.__init__

    def init(self: rich.progress.Progress, *columns: object, **options: object) -> None:
        real(self, *columns, **options, get_time=lambda: now[0])  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(rich.progress.Progress, "__init__", init)
    with progress.steps(10) as step:
        for _ in range(4):
            now[0] += 50.0  # rich by itself forgets steps older than 30 s
            step("plain")
        assert made[0].tasks[0].time_remaining == 300
    assert "plain" in terminal.getvalue()
    assert "4/10" in terminal.getvalue()
