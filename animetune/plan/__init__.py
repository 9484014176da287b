"""What a training configuration will do, before it does it: sizes, steps, parameters and memory. Loads no weights."""
