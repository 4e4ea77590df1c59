"""What is found: search, proof, audit, batch, report, command line."""
