"""The layer-peeled model with mixup: every program of the paper, solved with a certificate."""

__version__ = "0.2.0"
