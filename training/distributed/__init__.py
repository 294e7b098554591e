"""Several processes that train one run together: who does what, and BatchNorm over their shared batch."""
