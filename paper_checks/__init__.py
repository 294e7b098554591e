"""Checks of the paper's claims: each gets a verdict with the numbers behind it."""
