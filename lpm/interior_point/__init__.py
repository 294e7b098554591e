"""The interior-point method that solves the symmetry-reduced program."""
