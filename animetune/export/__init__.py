"""Finished weights for others to use: a diffusers folder, and the single file that ComfyUI and A1111 load."""
