"""What several test modules share, and how the suite runs: many tests at a time, each with one thread."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from training.data.datasets import LongTailed

# Before anything imports NumPy or torch: pytest's workers share the cores, so none takes more than one thread.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

# A job that a script starts in the background ignores Ctrl-C, and so would the commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow, which is no error.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Thousands of tests are collected into objects that stay, and the collector would look through them again and again.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but not among what the collection of tests has made."""
    gc.collect()
    gc.freeze()
    gc.enable()


WORKERS = 8
"""Processes that run tests at most: each may start several more, with torch in their memory."""


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """How many processes ``-n auto`` means: one per core up to WORKERS; none for single tests, which end sooner without.

    Returns:
        The number, or None where the environment says it (PYTEST_XDIST_AUTO_NUM_WORKERS).
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    single = bool(config.args) and all("::" in argument for argument in config.args)
    return 0 if single else min(WORKERS, len(os.sched_getaffinity(0)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was skipped, one line per reason, and that heavy tests were left out."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"skipped {number}: {reason}")
    if config.option.markexpr == "not heavy":
        terminalreporter.write_line("left out: the tests marked heavy; `make test-all` runs them too")


@pytest.fixture(scope="session")
def digits() -> LongTailed:
    """The built-in digits at imbalance 10."""
    from training.data import datasets

    return datasets.load("digits-lt", None, imbalance=10)


@pytest.fixture(scope="session")
def places_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like Places-LT, for reading only."""
    from tests.training.large import make

    folder = tmp_path_factory.mktemp("places")
    make("places-lt", folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files are not synchronised with the disk in this process: runs write thousands, and the disk takes ten ms for each.

    It is for a machine that loses power. What a killed process has written is there without. Forked processes do not
    wait either; commands as a user starts them do. Tests in which a disk is full have a function of their own in its place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Commands that a failed test did not wait for are killed."""
    yield
    if started := sys.modules.get("tests.started"):
        for command in [*started.Command.started, *started.Forked.started]:
            command.kill()
