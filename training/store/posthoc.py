"""What corrections make of a finished run: ``posthoc.json`` in its folder, sealed like ``metrics.json``. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.data.untrusted import contents
from training.store import results
from training.store.runs import FINAL, RunFolder

FILE = "posthoc.json"
"""The file's name."""

LIMIT = 100_000_000
"""Bytes that it may have."""

NAMES = ("none", "la", "tau-norm", "ncm", "bn")
"""The corrections: nothing, post-hoc logit adjustment, normalised class vectors, nearest class mean, BatchNorm recalibrated."""

TITLES = dict(zip(NAMES, ("none", "post-hoc LA", "tau-norm", "NCM", "BN"), strict=True))
"""The corrections as tables name them."""


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """The accuracy of a run's last weights after a correction.

    Attributes:
        correction: one of :data:`NAMES`.
        settings: its options by name.
        last: accuracies in per cent, as :attr:`training.store.results.RunResult.last`.
        per_class: accuracy in per cent of each class, (K,); None for a class without a test image.
        holdout: the same accuracies on held-out training images; none without them.
        tau_by_holdout: whether these images chose ``tau``.
        ece: expected calibration error in per cent; None where scores are no log-probabilities.
        temperature: the temperature that held-out images chose; None without.
        ece_at_temperature: the calibration error with it.
    """

    correction: str
    settings: Mapping[str, float | str | bool] = field(default_factory=dict)
    last: Mapping[str, float]
    per_class: tuple[float | None, ...] = ()
    holdout: Mapping[str, float] = field(default_factory=dict)
    tau_by_holdout: bool = False
    ece: float | None = None
    temperature: float | None = None
    ece_at_temperature: float | None = None

    @property
    def title(self) -> str:
        """The name in tables, such as 'post-hoc LA(0.5)': options show that are not the usual ones."""
        chosen = {"tau": "tau by holdout"} if self.tau_by_holdout else {}
        words = [_word(k, v) for k, v in ({**self.settings, **chosen}).items() if v != USUAL[k]]
        return TITLES[self.correction] + (f"({', '.join(words)})" if words else "")


def save(folder: RunFolder, rows: Sequence[Corrected]) -> None:
    """Store corrections of a run; those with the same settings are replaced. This process must hold the lock.

    Args:
        folder: a finished run.
        rows: the corrections.

    Raises:
        InvalidInput: if the run's weights are damaged.
    """
    final = hashlib.sha256(folder.content(FINAL)).hexdigest()
    try:
        before = read(folder)
    except InvalidInput:  # damaged, or of other weights
        before = ()
    new = {row.title: row for row in (*before, *rows)}
    write(folder.path / FILE, results.sealed({"final": final, "rows": [asdict(row) for row in new.values()]}))


def read(folder: RunFolder) -> tuple[Corrected, ...]:
    """Read the corrections of a run.

    Args:
        folder: a finished run.

    Returns:
        The corrections; none where none were made.

    Raises:
        InvalidInput: if the file is damaged, or was made of other weights than the run has now.
    """
    file = folder.path / FILE
    if not file.exists():
        return ()
    damaged = InvalidInput(f"{str(file)!r} is damaged; delete it, and run training.posthoc again")
    try:
        content = json.loads(contents(file, LIMIT))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, InvalidInput) else damaged from None
    if not (isinstance(content, dict) and results.is_sealed(content) and isinstance(content.get("rows"), list)):
        raise damaged
    if not all(_is_row(row) for row in content["rows"]):
        raise damaged
    hashes = folder.result().files.get(FINAL)
    if hashes and content.get("final") not in hashes:
        raise InvalidInput(f"{str(file)!r} was made of other weights than the run has; run training.posthoc again")
    return tuple(Corrected(**{**row, "per_class": tuple(row["per_class"])}) for row in content["rows"])


def corrected(folder: RunFolder, title: str) -> Corrected | None:
    """Find a correction of a run.

    Args:
        folder: a finished run.
        title: the correction as tables name it.

    Returns:
        The correction; None where it was not made.

    Raises:
        InvalidInput: as :func:`read`.
    """
    return next((row for row in read(folder) if row.title == title), None)


USUAL = {"tau": 1.0, "bias": False, "features": "cl2n"}
"""The usual values of corrections' options."""


def _word(name: str, value: float | str | bool) -> str:
    """An option of a correction as its name in tables shows it."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{value:g}" if isinstance(value, float | int) else value


SETTINGS: dict[str, Any] = {
    "tau": lambda v: type(v) in (int, float) and 0 <= v <= 100,
    "bias": lambda v: type(v) is bool,
    "features": lambda v: v in ("cl2n", "l2n", "un"),
}
"""For each option of a correction, the function that says whether a value is possible."""


def _is_row(row: Any) -> bool:
    def percent(value: Any) -> bool:
        return type(value) in (int, float) and 0 <= value <= 100

    def accuracies(value: Any) -> bool:
        return isinstance(value, dict) and set(value) <= SPLITS and all(map(percent, value.values()))

    return (
        isinstance(row, dict)
        and set(row) == {f.name for f in fields(Corrected)}
        and row["correction"] in NAMES
        and isinstance(row["settings"], dict)
        and all(name in SETTINGS and SETTINGS[name](value) for name, value in row["settings"].items())
        and accuracies(row["last"])
        and "all" in row["last"]
        and accuracies(row["holdout"])
        and isinstance(row["per_class"], list)
        and all(value is None or percent(value) for value in row["per_class"])
        and type(row["tau_by_holdout"]) is bool
        and all(row[name] is None or percent(row[name]) for name in ("ece", "temperature", "ece_at_temperature"))
    )


SPLITS = {"all", "balanced", "many", "med", "few"}
"""Names of accuracies."""
