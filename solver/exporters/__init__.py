"""Exporters: a plan as the files of an engine, a container runtime, a cluster or a batch system, one module each."""
