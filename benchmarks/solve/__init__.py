"""Speed of the solver: the main case, the catalogue, a thousand layers, and other formulations."""
