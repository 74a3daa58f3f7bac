"""Falsify: look for an input of the set that breaks the property."""
