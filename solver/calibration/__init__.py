"""Calibration: measurements in, timing curves out."""
