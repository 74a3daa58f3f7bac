"""What counts prove: confidence limits and sequential tests."""
