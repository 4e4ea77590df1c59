"""Expert placement: constructive starts, batched local search, bounds, proof and certificates."""
