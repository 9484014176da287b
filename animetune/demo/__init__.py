"""The demo: a drawn data set, a tiny base model, and the stages a user runs, from end to end on a CPU."""
