"""Evaluation: models and probes in, pictures, scores with their intervals and one page out."""
