"""Data sources, each entry a registered function."""
