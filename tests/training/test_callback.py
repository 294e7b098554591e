"""The example of a logger that is told each epoch, as printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.pages import code, text
from training.store.runs import find


def test_a_logger_gets_every_epoch_and_the_result(tmp_path: Path, monkeypatch: Any) -> None:
    rows: list[dict[str, Any]] = []
    begun: dict[str, Any] = {}
    summary: dict[str, float] = {}
    logger = ModuleType("wandb")
    vars(logger).update(
        init=lambda **words: begun.update(words), log=rows.append, summary=SimpleNamespace(update=summary.update)
    )
    monkeypatch.setitem(sys.modules, "wandb", logger)
    monkeypatch.chdir(tmp_path)
    (example,) = (part for part in code("docs/practice/training.md") if "wandb" in part)
    assert len(example.split("\n\n")[1].strip().splitlines()) <= 10
    exec(compile(example.replace("epochs=20", "epochs=2"), "training.md", "exec"), {})
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (begun["project"], begun["config"]["sampler"]) == ("imbalance", "bmls")
    (folder,) = find(tmp_path / "runs")
    assert summary == folder.result().last
    assert folder.rows() == rows


def test_the_line_for_mlflow_logs_numbers_by_epoch() -> None:
    (line,) = re.findall(r"`(lambda row: mlflow\.[^`]+)`", text("docs/practice/training.md"))
    logged: list[Any] = []
    mlflow = SimpleNamespace(log_metrics=lambda metrics, step: logged.append((metrics, step)))
    eval(line, {"mlflow": mlflow})({"epoch": 3, "loss": 0.5, "test_all": 90.0})
    assert logged == [({"loss": 0.5, "test_all": 90.0}, 3)]
