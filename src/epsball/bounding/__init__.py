"""Sound arithmetic: intervals and linear bounds as pure functions over a prepared network."""
