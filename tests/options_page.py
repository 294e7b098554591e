"""The page of a run's options, made of what RunConfig says of its choices: ``python -m tests.options_page`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.config import CHOICES, Choice, RunConfig

PAGE = Path(__file__).parent.parent / "docs/practice/options.md"

BEGINNING = """# Options of a run

A run is described by its choices. Each has an option of `training.train` and `training.compare`, and a default.
A preset sets several at once (`--preset`). An option that you give overrides its preset. Results then carry the
preset's name with a `+`.

This page is made of `training/choices/` by `python -m tests.options_page`. [Words](../words.md#training) explains the terms.
"""

GROUPS = {
    "data": ("Data", "The images that a run trains on."),
    "method": ("Method", "How images are paired, what the classifier is, and what is minimised."),
    "recipe": ("Recipe", "The network, the law of the mixing ratio, and the optimisation."),
    "run": ("Run", "The rest. `--seeds` gives several runs at once."),
}
"""Title and first sentence of each group of choices."""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, int | float) else (f"`{value}`" if value else "none")


def _row(name: str, choice: Choice, default: RunConfig) -> str:
    option = (
        f"`--{name.replace('_', '-')}`"
        if choice.listed
        else {"seed": "`--seeds`", "preset": "`--preset`"}.get(name, name)
    )
    first = choice.help[0]
    meaning = [(first.upper() if choice.help.split()[0].isalpha() else first) + choice.help[1:] + "."]
    if any(isinstance(text, str) and text for text in choice.words.values()):
        meaning += [f"`{word}`: {text}." if text else f"`{word}`." for word, text in choice.words.items()]
    elif choice.words:
        meaning.append("One of " + ", ".join(f"`{word}`" for word in choice.words) + ".")
    if choice.holds is not None:
        meaning.append(f"It {choice.rule_of(default)}.")
    if choice.scope:
        meaning.append(f"Applies only to {choice.scope}.")
    return f"| {option} | {_value(getattr(default, name))} | {'<br>'.join(meaning)} |"


def page() -> str:
    """Return the page as Markdown."""
    default, lines = RunConfig(), [BEGINNING]
    for group, (title, sentence) in GROUPS.items():
        rows = [_row(name, choice, default) for name, choice in CHOICES.items() if choice.group == group]
        lines.append(
            "\n".join(
                [f"## {title}\n\n{sentence}\n", "| option | default | meaning |", "| --- | --- | --- |", *rows, ""]
            )
        )
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
