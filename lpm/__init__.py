"""The layer-peeled model with mixup: every program of the paper, solved with a certificate."""

from lpm.console.signals import end_while_importing

__version__ = "0.2.0"

end_while_importing()
