"""Training: state, phases of the objective, and the loop that sequences them."""
