"""Plans in numbers, and the commands that run them."""
