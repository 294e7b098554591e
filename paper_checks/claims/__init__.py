"""The claims of the paper, a module for each or for a small family. ``paper_checks.catalogue`` lists them in order."""
