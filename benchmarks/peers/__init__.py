"""Other planners and simulators on the same questions; each runs in a Python environment of its own."""
