"""The numbers of the probe of characters."""
