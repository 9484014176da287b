"""Model cards: what a model is, how to prompt it and what it was made from, filled from the manifests behind it."""
