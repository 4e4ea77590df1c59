"""A plan in numbers: figures, metrics, predictions, engine flags."""
