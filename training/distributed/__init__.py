"""Several processes that train one run: their shares of a batch, their communication, BatchNorm over a shared batch."""
