"""The audit of plans that people wrote: claims, verdicts, usual mistakes, constraint checks, completion."""
