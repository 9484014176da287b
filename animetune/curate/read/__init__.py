"""Files of posts and captions -> rows."""
