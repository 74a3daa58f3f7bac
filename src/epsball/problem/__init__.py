"""What is claimed: a set of inputs, a property of the outputs, and the two together."""
