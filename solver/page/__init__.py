"""A local planner in the browser: one page, served on this machine alone, over the same functions as the verbs."""
