"""Search for the fewest GPUs."""
