"""What a program or a notebook calls: one function per question; the command line is a thin layer over it."""
