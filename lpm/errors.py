"""The one exception for input that cannot be used."""


class InvalidInput(ValueError):
    """Input that breaks a rule; the message names the value, the rule and the remedy in one line."""
