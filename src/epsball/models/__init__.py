"""The zoo: architectures by name."""
