"""Finished weights as files that others read: the single file, the diffusers folder, what they say of themselves."""
