"""A tiny SDXL: the same classes, wiring and names as the real one, in sizes that a CPU trains.

Three UNet levels, one without attention; two CLIPs over the full vocabulary; a VAE of factor 8. Pictures must be
multiples of 32 pixels, as for SDXL's UNet.
"""

from __future__ import annotations

from animetune import tokens
from animetune.models.sdxl import Architecture, Sdxl, build_random, sdxl_configs, text_config


def tiny_configs() -> Architecture:
    """UNet 2.1 M parameters, VAE 0.9 M, CLIPs 1.2 M and 2.0 M, nearly all of it the vocabulary."""
    sdxl = sdxl_configs()
    # Two widths, as in SDXL: diffusers' single-file loader tells the two CLIPs apart by them.
    width_l, width_g = 24, 40
    time_width = 32
    return Architecture(
        unet=sdxl.unet
        | {
            "addition_time_embed_dim": time_width,
            "attention_head_dim": [4, 4, 4],
            "block_out_channels": [32, 48, 64],
            "cross_attention_dim": width_l + width_g,
            "norm_num_groups": 8,
            "projection_class_embeddings_input_dim": width_g + 6 * time_width,
            "sample_size": 16,
            "transformer_layers_per_block": [1, 1, 1],
        },
        vae=sdxl.vae
        | {"block_out_channels": [16, 32, 48, 64], "layers_per_block": 1, "norm_num_groups": 8, "sample_size": 128},
        text_encoder=text_config(hidden=width_l, layers=2, heads=3, activation="quick_gelu", pad=tokens.PAD_L),
        text_encoder_2=text_config(hidden=width_g, layers=2, heads=5, activation="gelu", pad=tokens.PAD_G),
    )


def build_tiny(seed: int) -> Sdxl:
    """A tiny SDXL with random weights, a pure function of `seed`, float32 on the CPU."""
    return build_random(tiny_configs(), seed=seed)
