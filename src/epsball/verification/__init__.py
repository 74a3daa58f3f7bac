"""Decide a problem: verified, falsified, unknown, timeout or error, kept apart."""
