"""This project's own results, in the form of the paper's claims: `python -m paper_checks --beyond`."""
