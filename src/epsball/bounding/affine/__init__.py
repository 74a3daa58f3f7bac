"""Bounds by affine forms that are carried forward: one symbol an input element, one for every error."""
