"""What a sceptic runs: one file each, standard library only."""
