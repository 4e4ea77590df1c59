"""Readers of plans that people wrote: Markdown documents, YAML, JSON and engine command lines."""
