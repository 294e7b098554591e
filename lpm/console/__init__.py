"""The parts that all commands share: one-line errors, exit status, whole output files, processes. It knows no model."""
