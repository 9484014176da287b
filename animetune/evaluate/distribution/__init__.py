"""The numbers of the probe of the distribution of pictures."""
