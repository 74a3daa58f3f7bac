"""Distributions of noise and what they certify."""
