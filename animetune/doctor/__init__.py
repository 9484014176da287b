"""What a machine has and lacks, each finding with its remedy; `run.examine` is the entrance. Probes gather facts, and
pure functions judge them."""
