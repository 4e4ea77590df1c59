"""The master program: tables, options, layouts, constraint groups."""
