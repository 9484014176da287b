"""What models see in pictures: the steps `models`, which asks them, and `tag_sources`, which makes use of it."""
