"""The paper's figures, and trained networks laid over the optimum that theory predicts: ``python -m figures``."""
