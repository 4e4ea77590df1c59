"""One self-contained HTML page over the rows of a batch run."""
