"""Other formulations of the deployment problem, to see what ours buys; no result of the planner uses them."""
