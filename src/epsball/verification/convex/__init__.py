"""Convex programs over a network: the triangle relaxation as a linear program, and cuts on groups of neurons."""
