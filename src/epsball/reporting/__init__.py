"""Reports: read run records only."""
