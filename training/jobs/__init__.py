"""Many runs: one after another, several at a time on this machine, or on a cluster (:mod:`lpm.console.engines`)."""
