"""Operators of several inputs, or of several elements of one: products, softmax, maxima, norms."""
