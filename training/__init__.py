"""The paper's experiments: long-tailed data, pair samplers, classifiers, one training loop, a run store, tables."""

from lpm.console.signals import end_while_importing

end_while_importing()
