"""What bounds are written in: intervals, rows of coefficients, and rows that see a window only."""
