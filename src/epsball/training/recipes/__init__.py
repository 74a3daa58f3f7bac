"""How to train: one recipe a file."""
