"""One run: its steps and evaluations, from the first epoch or the last checkpoint to its result."""
