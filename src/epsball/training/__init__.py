"""Make robust: recipes over one training loop."""
