"""The probes: each asks its prompts and makes numbers of what scorers say of the pictures."""
