"""Check the paper's claims: ``python -m paper_checks``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import tomllib
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified, install
from lpm.console.output import OutputFolder
from lpm.console.progress import console
from paper_checks import report, runs
from paper_checks.beyond.catalogue import BEYOND
from paper_checks.beyond.catalogue import EXPECTED as BEYOND_EXPECTED
from paper_checks.catalogue import CHECKS
from paper_checks.claim import Check, Finding, Verdict
from paper_checks.lab import Lab
from paper_checks.report import Outcome

EXPECTED = Path(__file__).parent / "expected.toml"
"""The verdicts on record."""

STYLES = {
    "holds": "green",
    "holds under a stated repair": "yellow",
    "fails as stated": "red",
    "vacuous": "magenta",
    "inconsistent": "dark_orange",
    "cannot be decided here": "dim",
}
"""Colour of each verdict in the printed table."""


def expected(path: Path = EXPECTED, checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    """Read the verdicts on record.

    Args:
        path: TOML file with a table ``verdicts``.
        checks: the checks that it is about.

    Returns:
        Verdicts by claim.

    Raises:
        InvalidInput: if the file cannot be read, or does not have one known verdict for every check.
    """
    try:
        with path.open("rb") as file:
            verdicts = tomllib.load(file)["verdicts"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error}") from None
    known = {str(v) for v in Verdict}
    odd = sorted(set(verdicts) ^ {c.id for c in checks}) or sorted(set(verdicts.values()) - known)
    if odd:
        raise InvalidInput(f"{str(path)!r} must have one known verdict for every check; see {odd[0]!r}")
    return verdicts


def run(checks: Sequence[Check], lab: Lab, *, on_record: dict[str, str], quiet: bool = True) -> list[Outcome]:
    """Run checks in order.

    Args:
        checks: the checks.
        lab: the instruments.
        on_record: verdicts on record by claim; may lack some.
        quiet: whether to leave out the progress bar on standard error.

    Returns:
        Their outcomes. A check that finds no certificate cannot be decided; the others go on.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    outcomes = []
    terminal = console()
    with Progress(*columns, console=terminal, transient=True, disable=quiet or not terminal.is_terminal) as progress:
        task = progress.add_task("", total=len(checks))
        for check in checks:
            progress.update(task, description=check.id)
            start = time.perf_counter()
            try:
                finding = check.run(lab)
            except (NotCertified, ArithmeticError) as error:  # the other checks go on
                finding = Finding([], f"not certified: {error}", "none")
            outcomes.append(Outcome(check, finding, time.perf_counter() - start, on_record.get(check.id)))
            progress.advance(task)
    return outcomes


def choose(names: Sequence[str], checks: Sequence[Check] = CHECKS) -> list[Check]:
    """Choose checks by name.

    Args:
        names: names of claims; none for all.
        checks: the checks to choose from.

    Returns:
        The checks in the paper's order.

    Raises:
        InvalidInput: if there is no claim of a name.
    """
    parse = cli.choice(*(c.id for c in checks))
    for name in names:
        try:
            parse(name)
        except argparse.ArgumentTypeError as error:
            raise InvalidInput(f"claim {str(error).split(' (one of')[0]}; --list shows all") from None
    return [c for c in checks if not names or c.id in names]


def _print(outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    table = Table("claim", "where", "verdict", "evidence", box=None, pad_edge=False)
    for o in outcomes:
        verdict = str(o.finding.verdict) + (f" (expected: {o.expected})" if o.changed else "")
        place = o.check.says["Where"].split(";")[0].split(" (")[0]
        table.add_row(
            o.check.id,
            place,
            f"[{STYLES[o.finding.verdict]}]{verdict}[/]",
            report.pretty(o.finding.evidence).replace("[", r"\["),
        )
    console.print(table)
    console.print(report.summary(outcomes))


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status: 0 if every verdict is the one on record, 1 if one has changed.

    Raises:
        InvalidInput: if an option is out of range, a file cannot be read, or the report cannot be written.
    """
    parser = cli.Parser("paper_checks", "check the paper's claims and write a report")
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="claims to check (default: all)")
    parser.add_argument("--beyond", action="store_true", help="also check this project's own results")
    parser.add_argument("--list", action="store_true", help="list the claims and exit")
    parser.add_argument(
        "--rigorous", action="store_true", help="repeat certificates of small programs in ball arithmetic"
    )
    parser.add_argument(
        "--runs", type=Path, metavar="CSV", help="CSV file of training runs (default: results/runs.csv, if present)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random instances and simulated epochs")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the report (default: paper-report, or paper-report-beyond, if all claims are checked; else none)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    options = parser.parse_args(arguments)
    checks = choose(options.claims, (*CHECKS, *BEYOND) if options.beyond else CHECKS)
    if options.list:
        if options.json:
            cli.print_json([{"id": c.id, "where": c.says["Where"], "claim": c.says["Statement"]} for c in checks])
            return 0
        for check in checks:
            print(f"{check.id:<22}{report.pretty(check.says['Statement'])}")
        return 0
    if options.rigorous and util.find_spec("flint") is None:
        raise InvalidInput(f"--rigorous needs python-flint; install it with {install('rigorous')}")
    if options.seed < 0:
        raise InvalidInput(f"--seed {options.seed} must be at least 0")
    source = options.runs or (runs.DEFAULT if runs.DEFAULT.is_file() else None)
    lab = Lab(options.rigorous, options.seed, runs.read(source) if source is not None else ())
    usual = "paper-report-beyond" if options.beyond else "paper-report"
    out = options.out or (None if options.claims else Path(usual))
    on_record = expected() | (expected(BEYOND_EXPECTED, BEYOND) if options.beyond else {})
    with contextlib.ExitStack() as stack:
        # The claims are part of the name, so that a report on some claims never replaces the report on all.
        name = " ".join(
            ["paper_checks", *(["--beyond"] if options.beyond else []), *(c.id for c in checks if options.claims)]
        )
        folder = stack.enter_context(OutputFolder(out, name)) if out is not None else None
        outcomes = run(checks, lab, on_record=on_record, quiet=options.quiet or options.json)
        if options.json:
            cli.print_json(report.document(outcomes, lab))
        elif not options.quiet:
            _print(outcomes)
        if folder is not None:
            try:
                report.write(folder.path, outcomes, lab)
                folder.finish({"summary": report.summary(outcomes), "rigorous": options.rigorous, "seed": options.seed})
            except OSError as error:
                raise InvalidInput(f"--out {str(out)!r} cannot be written: {error.strerror}") from None
            if not (options.quiet or options.json):
                print(f"report: {out}/report.html, report.md, report.json")
                cli.next_step(f"open {out}/report.html in a browser")
    changed = [o for o in outcomes if o.changed]
    for o in changed:
        print(f"changed: {o.check.id}: {o.finding.verdict}, expected {o.expected}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
