"""What is asked: files to instances, and the catalogue."""
