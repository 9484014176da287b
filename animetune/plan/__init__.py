"""What a configuration will do, before it does it. `run`: training, its sizes, steps, parameters and memory, without
weights. `shards`: which sizes the pictures of a table get, without pictures."""
