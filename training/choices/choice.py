"""What is known of one choice of a run, and the rules that many choices share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from training.methods import KINDS, Method

if TYPE_CHECKING:
    from training.config import RunConfig

Group = Literal["data", "method", "recipe", "run"]
Holds = Callable[["RunConfig", Any], bool]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is known of one choice of a run.

    Attributes:
        help: what it means, in words.
        group: the data, the method, the recipe, or the run.
        words: the values it may have, with what each means ('' where the word says it); none where it is a number or free text.
        pattern: a regular expression; values that match it are possible beside the words.
        holds: whether a value is possible, given the run; ``rule`` says it in words.
        rule: what a value must satisfy, or a function of the run that says it.
        applies: whether the choice has any effect on the run; elsewhere it must keep its default.
        scope: where it applies, in words.
        listed: whether ``--help`` has an option of that name.
    """

    help: str
    group: Group
    words: Mapping[str, str]
    pattern: str
    holds: Holds | None
    rule: str | Callable[[RunConfig], str]
    applies: Callable[[RunConfig], bool]
    scope: str
    listed: bool

    def rule_of(self, config: RunConfig) -> str:
        """The rule in words.

        Args:
            config: the run that it is for.

        Returns:
            The end of a sentence that begins with the choice and its value.
        """
        return self.rule if isinstance(self.rule, str) else self.rule(config)


def choice(
    default: Any,
    help: str,
    group: Group,
    *,
    words: Mapping[str, str] | Collection[str] = (),
    pattern: str = "",
    holds: Holds | None = None,
    rule: str | Callable[[RunConfig], str] = "",
    applies: Callable[[RunConfig], bool] = lambda run: True,
    scope: str = "",
    listed: bool = True,
) -> Any:
    """Make a field of RunConfig that carries what is known of it.

    Args:
        default: the value of runs that do not say it.
        help: see :class:`Choice`, as the other ones.
        group: the data, the method, the recipe, or the run.
        words: the values it may have.
        pattern: a regular expression of further values.
        holds: whether a value is possible.
        rule: what a value must satisfy.
        applies: whether the choice has any effect.
        scope: where it applies.
        listed: whether ``--help`` has it.

    Returns:
        The field.
    """
    meanings = words if isinstance(words, Mapping) else dict.fromkeys(words, "")
    known = Choice(
        help=help,
        group=group,
        words=meanings,
        pattern=pattern,
        holds=holds,
        rule=rule,
        applies=applies,
        scope=scope,
        listed=listed,
    )
    return field(default=default, metadata={"choice": known})


def between(low: float, high: float, *, rule: str = "") -> dict[str, Any]:
    """The rule of a number that must lie in a range.

    Args:
        low: the least value.
        high: the largest value.
        rule: the rule in other words.

    Returns:
        Keywords of :func:`choice`.
    """
    return {"holds": lambda run, value: low <= value <= high, "rule": rule or f"must lie in {low:g}..{high:g}"}


def above_zero(high: float, *, included: bool = True) -> dict[str, Any]:
    """The rule of a number that must be positive.

    Args:
        high: the largest value.
        included: whether it may be ``high`` itself.

    Returns:
        Keywords of :func:`choice`.
    """
    limit = f"{'at most' if included else 'below'} {high:,g}"
    return {
        "holds": lambda run, value: 0 < value < high or (included and value == high),
        "rule": f"must be positive, {limit}",
    }


def helps(rows: Mapping[str, Method]) -> dict[str, str]:
    """The words of a registry's table.

    Args:
        rows: a table of :mod:`training.methods`.

    Returns:
        What each word means.
    """
    return {name: row.help for name, row in rows.items()}


def taken_by(name: str) -> dict[str, Any]:
    """Where a setting of methods applies: to the methods that take it, as their rows say.

    Args:
        name: the field of RunConfig.

    Returns:
        Keywords of :func:`choice`.
    """
    takers = {
        kind: [row.name for row in rows.values() if name in row.settings.values()] for kind, rows in KINDS.items()
    }
    takers = {kind: words for kind, words in takers.items() if words}
    return {
        "applies": lambda run: any(getattr(run, kind) in words for kind, words in takers.items()),
        "scope": " and ".join(f"{kind.replace('_', '-')} {alternatives(words)}" for kind, words in takers.items()),
    }


def alternatives(words: Sequence[str]) -> str:
    """Join words with commas and 'or'.

    Args:
        words: at least one.

    Returns:
        Such as "'a', 'b' or 'c'".
    """
    *first, last = [f"'{word}'" for word in words]
    return f"{', '.join(first)} or {last}" if first else last
