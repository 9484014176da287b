"""What is left out: filters, lists of posts, duplicates."""
