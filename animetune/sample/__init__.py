"""Sampling: prompts and a model in, a folder of pictures out."""
