"""Tests, in the rooms of the packages that they hold to their word."""
