"""Why not fewer, which limits bind or conflict, and how far inputs may worsen."""
