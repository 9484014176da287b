"""How often each picture is seen in an epoch, and what the epoch then is."""
