"""A plan in service, played event by event: queues, continuous batching, cache, and what requests see of it."""
