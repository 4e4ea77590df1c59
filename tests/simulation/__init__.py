"""Plans in service, played event by event."""
