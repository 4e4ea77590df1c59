"""Requests that come by themselves: how fast they are planned, how tight the bounds are, and whether plans hold."""
