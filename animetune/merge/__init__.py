"""Several models and LoRAs made into one."""
