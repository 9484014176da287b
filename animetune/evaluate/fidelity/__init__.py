"""What the probe `fidelity` is made of: groups of tags, what is found of them, and what the tagger can find at all."""
