"""What a network is: a frozen graph of per-sample operations, captured from a module."""
