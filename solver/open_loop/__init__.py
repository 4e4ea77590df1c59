"""Requests that come by themselves: a bound from a relaxation, a plan that is played before it is given."""
