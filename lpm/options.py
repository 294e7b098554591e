"""Options that the commands share: the program, its arguments, the solver."""

from __future__ import annotations

import argparse
from typing import Any

from lpm import mixing
from lpm.console.cli import Parser, choice
from lpm.console.errors import InvalidInput
from lpm.family import DEFAULT_K, Family
from lpm.pairs import PROFILES
from lpm.programs import PROGRAMS
from lpm.solution import TOLERANCE

DEFAULT_E_H, DEFAULT_E_W = 5.0, 1.0
"""Default budgets: the paper's."""
DEFAULT_PROGRAM = "fc"
"""Default program of the commands that work on one."""


def add_family(
    parser: Parser, program: str = DEFAULT_PROGRAM, profile: str = "block for ms-free, else product"
) -> None:
    """Add the options that choose a program and its arguments.

    Args:
        parser: the parser of the command.
        program: the command's default for ``--program``, in words.
        profile: its default for ``--profile``, in words.
    """
    add_program(parser, program, profile)
    add_limits(parser)
    parser.group("budgets").add_argument(
        "--budget",
        type=choice("paper", "eq7"),
        default="paper",
        metavar="NAME",
        help="feature budget as in Eq. 5 (paper) or eq7",
    )


def add_program(
    parser: Parser,
    program: str = DEFAULT_PROGRAM,
    profile: str = "block for ms-free, else product",
    nodes: int = mixing.NODES,
) -> None:
    """Add the options that choose a program, its label pairs and its classes.

    Args:
        parser: the parser of the command.
        program: the command's default for ``--program``, in words.
        profile: its default for ``--profile``, in words.
        nodes: its default for ``--nodes``.
    """
    add = parser.group("program").add_argument
    add(
        "--program",
        type=choice(*PROGRAMS),
        metavar="NAME",
        help="|".join(PROGRAMS) + f"; docs/theory/model.md says what each is (default: {program})",
    )
    add(
        "--profile",
        type=choice(*PROFILES),
        metavar="NAME",
        help="label-pair frequencies: block (no pairs of majority and minority), "
        f"product (random pairing), balanced (all K^2 equal), distinct (all a != b equal) (default: {profile})",
    )
    add("--lam", type=float, help="mixing ratio lambda in (0, 1) (default: 0.5 without --alpha)")
    add("--alpha", type=float, help="lambda ~ Beta(alpha, alpha) instead of a fixed ratio")
    add("--nodes", type=int, help=f"quadrature nodes for --alpha (default: {nodes})")
    add = parser.group("classes").add_argument
    add("--K", type=int, default=DEFAULT_K, help=f"number of classes (default: {DEFAULT_K})")
    add("--K-A", type=int, help="number of majority classes (default: K // 2)")
    add("--w-r", type=float, default=1.0, help="oversampling of the minority (Proposition 1)")


def add_limits(parser: Parser) -> None:
    """Add the options for budgets and for the decay that may take their place.

    Args:
        parser: the parser of the command.
    """
    add = parser.group("budgets").add_argument
    add("--E-H", type=float, help=f"feature budget (default: {DEFAULT_E_H:g} without --decay)")
    add(
        "--E-W",
        type=float,
        help=f"class-vector budget, E_{{W^lambda}} for ms programs (default: {DEFAULT_E_W:g} without --decay)",
    )
    add("--decay", type=float, metavar="MU", help="weight decay instead of budgets: mu = sqrt(l_H l_W)")
    add_features(parser, "sample with --decay, else mean")
    add("--bias", action="store_true", help="with --decay: a free bias of the logits, not penalised, as networks have")


def add_features(parser: Parser, default: str) -> None:
    """Add ``--features``.

    Args:
        parser: the parser of the command.
        default: the command's default, in words.
    """
    parser.group("budgets").add_argument(
        "--features",
        type=choice("sample", "mean"),
        metavar="NAME",
        help=f"what budget or decay of features averages over: sample, or mean (label pairs alike) (default: {default})",
    )


def add_range(parser: Parser) -> None:
    """Add the options for a range of imbalances.

    Args:
        parser: the parser of the command.
    """
    add = parser.group("classes").add_argument
    add("--R-min", type=float, default=1.0, help="smallest imbalance n_A / n_B")
    add("--R-max", type=float, default=1e4, help="largest imbalance")
    parser.refuse(
        "the command varies the imbalance R = n_A / n_B of K_A frequent and K - K_A rare classes (--K, --K-A), and "
        "counts of your own have no R; `python -m lpm.solve` solves at them",
        "--counts",
        "--counts-file",
        "--table",
    )
    parser.refuse("give the range --R-min and --R-max; `python -m lpm.solve` solves at one R", "--R")


def add_solver(parser: Parser) -> None:
    """Add the options for the solver, its tolerance and the permission to be slow.

    Args:
        parser: the parser of the command.
    """
    add = parser.group("solver").add_argument
    add(
        "--solver",
        type=choice("auto", "orbits", "factored", "merged", "sdp"),
        default="auto",
        metavar="NAME",
        help="auto|orbits|factored|merged|sdp; docs/theory/solvers.md says which is for what",
    )
    add("--tolerance", type=float, default=TOLERANCE, help="largest relative gap that is certified")
    add("--force", action="store_true", help="let --solver sdp take any size")


def family_of(options: argparse.Namespace, program: str, profile: str) -> Family:
    """Build the family that the options describe.

    Args:
        options: the parsed options.
        program: name of the program.
        profile: name of the profile; "" for the program's default.

    Returns:
        The family.

    Raises:
        InvalidInput: if an option breaks a rule.
    """
    return Family(
        program,
        profile,
        DEFAULT_K if options.K is None else options.K,
        K_A=options.K_A,
        w_r=options.w_r,
        mixing=law_of(options),
        budget=options.budget,
        **limits_of(options),
    )


def limits_of(options: argparse.Namespace) -> dict[str, Any]:
    """Collect what --E-H, --E-W, --decay, --features and --bias say.

    Args:
        options: the parsed options.

    Returns:
        Arguments of :class:`lpm.family.Family`.

    Raises:
        InvalidInput: if budgets and a decay are given together.
    """
    given = [name for name, value in (("--E-H", options.E_H), ("--E-W", options.E_W)) if value is not None]
    if options.decay is not None and given:
        raise InvalidInput(f"--decay and {given[0]} exclude each other: weight decay takes the place of both budgets")
    return {
        "e_h": DEFAULT_E_H if options.E_H is None else options.E_H,
        "e_w": DEFAULT_E_W if options.E_W is None else options.E_W,
        "decay": options.decay,
        "features": options.features,
        "bias": options.bias,
    }


def law_of(options: argparse.Namespace) -> mixing.Mixing:
    """Build the law of the mixing ratio from --lam, --alpha and --nodes.

    Args:
        options: the parsed options.

    Returns:
        The law; lambda = 1/2 if none of them is given.

    Raises:
        InvalidInput: if the options do not go together, or a value is out of range.
    """
    if options.alpha is None:
        if options.nodes is not None:
            raise InvalidInput(f"--nodes {options.nodes} applies only to --alpha; give --alpha or drop it")
        return mixing.fixed(0.5 if options.lam is None else options.lam)
    if options.lam is not None:
        raise InvalidInput(f"--lam {options.lam:g} and --alpha {options.alpha:g} exclude each other; give one of them")
    return mixing.beta(options.alpha, mixing.NODES if options.nodes is None else options.nodes)


def caption(family: Family) -> str:
    """Write down the settings of a family, for pictures.

    Args:
        family: the family.

    Returns:
        Its numbers in one line, without program and profile.
    """
    words, law = [f"K = {family.K}", f"K_A = {family.majority}"], family.mixing.label
    if PROGRAMS[family.program].mixed:
        words.append(f"λ ~ {law}" if law.startswith("Beta") else f"λ = {law}")
    words += [settings_of(family.e_h, family.e_w, family.decay, bias=family.bias)]
    if family.features != ("mean" if family.decay is None else "sample"):
        words.append(f"features: {family.features}")
    if family.w_r != 1:
        words.append(f"w_r = {family.w_r:g}")
    if family.budget != "paper":
        words.append(f"budget {family.budget}")
    return ", ".join(words)


def settings_of(e_h: float, e_w: float, decay: float | None, *, bias: bool = False) -> str:
    """Name budgets or a decay.

    Args:
        e_h: feature budget.
        e_w: class-vector budget.
        decay: mu, or None for budgets.
        bias: whether logits have a free bias.

    Returns:
        The words.
    """
    words = f"E_H = {e_h:g}, E_W = {e_w:g}" if decay is None else f"decay = {decay:g}"
    return words + ", free bias" * bias


def describe(family: Family) -> dict[str, Any]:
    """Describe a family for JSON.

    Args:
        family: the family.

    Returns:
        Its names and numbers, by the names of the options.
    """
    return {
        "program": family.program,
        "profile": family.profile,
        "K": family.K,
        "K_A": family.majority,
        "w_r": family.w_r,
        "lam": family.mixing.label,
        "E_H": family.e_h if family.decay is None else None,
        "E_W": family.e_w if family.decay is None else None,
        "budget": family.budget,
        "decay": family.decay,
        "features": family.features,
        "bias": family.bias,
    }
