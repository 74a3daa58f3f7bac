"""Robust training and certification of neural networks: attack, verify, train and report over perturbation balls."""
