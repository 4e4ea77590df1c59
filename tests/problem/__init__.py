"""One door to the deployment problem."""
