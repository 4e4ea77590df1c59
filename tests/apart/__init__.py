"""Prefill and decode apart."""
