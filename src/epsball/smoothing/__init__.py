"""Randomized smoothing: a classifier of noisy copies, and radii that hold with a stated probability."""
