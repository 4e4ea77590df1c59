"""Counts to bytes and seconds, plain numbers, no solver."""
