"""Runs: a folder with a record, a lock and whole checkpoints."""
