"""Measurements behind docs/benchmarks.md. Never run as tests: timings on shared machines drift."""
