"""The parts of the solver for hundreds of different class counts: merged classes, blocks of rows, descent, lower bounds."""
