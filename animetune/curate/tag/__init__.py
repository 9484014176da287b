"""What tags mean, how they are written, and in which order."""
