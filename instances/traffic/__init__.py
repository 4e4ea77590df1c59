"""Traffic: when requests arrive, how long they are, and the traces that say so."""
