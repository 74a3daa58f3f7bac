"""Linear programs: the triangle relaxation, several neurons at once, and who solves them."""
