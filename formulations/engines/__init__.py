"""What each engine accepts."""
