"""From operators of torch to canonical ones, with per-sample axes: one module a family."""
