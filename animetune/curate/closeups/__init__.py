"""Close-ups: rows of their own, cut from pictures of the table."""
