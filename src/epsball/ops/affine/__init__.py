"""Operators that are affine in their input."""
