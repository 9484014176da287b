"""What training changed, as a LoRA: low-rank factors of the difference between two models."""
