"""Refutation trees, evidence, and the certificate with its JSON."""
