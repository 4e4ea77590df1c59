"""The public functions and records."""
