"""The one exception for input that cannot be used, and the remedy for a package that is missing."""


class InvalidInput(ValueError):
    """Input that breaks a rule; the message names the value, the rule and the remedy in one line."""


def install(extra: str) -> str:
    """The command that brings an extra."""
    return f'pip install -c constraints.txt -e ".[{extra}]"'
