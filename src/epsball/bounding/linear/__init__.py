"""Bounds by linear functions of the input that are carried backward: CROWN and what is built on its walk."""
