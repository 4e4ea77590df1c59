"""Serving times: what one iteration of an engine takes, and what closed-loop load makes of it."""
