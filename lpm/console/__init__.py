"""What all commands share: one-line errors, exit status, whole output files, many processes. It knows no model."""
