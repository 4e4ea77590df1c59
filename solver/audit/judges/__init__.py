"""Judges: one module per area of a document; each maps the fields it judges to a function."""
