"""The parts of the solver for hundreds of class counts: merged classes, blocks of rows, descent, lower bounds."""
