"""Expert placement: the problem of a layer, its program, its bounds and its check."""
