"""Timing curves fitted to measurements, and the clock that reads them."""
