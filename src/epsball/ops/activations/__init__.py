"""Elementwise operators, one file a family."""
