"""Several processes that train one run together: their shares of a batch, communication, BatchNorm over the batch."""
