"""Fidelity: how far predictions are from measurements, recomputed from any folder of the recorded form."""
