"""Many runs: one after another, at a time on this machine, or on a cluster."""
