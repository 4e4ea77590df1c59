"""Many tasks at once: a ledger of answers, engines that solve, and tables over the results."""
