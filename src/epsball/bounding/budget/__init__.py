"""What a bound costs in time and memory, estimated before it is computed, and methods that stay within."""
