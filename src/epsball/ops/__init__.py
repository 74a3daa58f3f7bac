"""What an operator is to every method: the protocol, the plan of a network, and a rule for each operator."""
