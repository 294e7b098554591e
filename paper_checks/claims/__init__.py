"""The claims of the paper, one module per claim or per small group. ``paper_checks.catalogue`` lists them in order."""
