"""Hand-written plans, judged and compared."""
