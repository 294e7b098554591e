"""The paper's figures, and trained networks laid over the optimum that theory predicts: ``python -m figures``."""

from lpm.console.signals import end_while_importing

end_while_importing()
