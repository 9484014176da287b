"""Prompts with questions that depend on each other, in the format and the manner of DPG-Bench (Hu et al. 2024)."""
