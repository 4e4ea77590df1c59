"""Requests that come by themselves: bounded, planned and played."""
