"""Functions over records and networks."""
