"""Every claim of the paper, checked."""
