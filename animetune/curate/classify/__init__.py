"""Quality, aesthetic, rating and year classes; content buckets."""
