"""One program: a chain of stages, or what refutes every chain."""
