"""Largest certified balls and boxes: bisection over any method, envelopes, Lipschitz constants, non-uniform boxes."""
