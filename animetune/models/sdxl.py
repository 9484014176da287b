"""SDXL as one module, and the configurations of its networks written out, so that a single file needs no download."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from animetune import tokens
from animetune.models.conditioning import added_conditions
from animetune.models.offload import visiting
from animetune.models.text import TextStates, encode_text, freeze_unused, join_texts, weigh_text
from animetune.models.vae import decode_latents, encode_pixels, tiling
from animetune.seeding import Purpose, key_for

Component = Literal["unet", "text_encoder", "text_encoder_2", "vae"]
COMPONENTS: tuple[Component, ...] = ("unet", "text_encoder", "text_encoder_2", "vae")

LOGIT_SCALE = math.log(100)
"""CLIP-G's logit scale: no part of image generation, but single files hold it."""


class Parameterization(NamedTuple):
    """What a UNet was trained to predict; the sampler must agree."""

    prediction: Literal["epsilon", "v", "flow"] = "epsilon"
    zero_terminal_snr: bool = False
    shift: float = 1.0
    """Of a flow at 1024x1024, as it was trained; a sampler may choose another."""
    shift_by_area: bool = False
    """Whether the shift grows with the square root of the pixels."""


EPSILON = Parameterization()
"""What SDXL base predicts."""


@dataclass(frozen=True)
class Architecture:
    """The configurations of the four networks, as JSON values under the names that diffusers and transformers use."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    text_encoder: dict[str, Any]
    text_encoder_2: dict[str, Any]


def sdxl_configs() -> Architecture:
    """SDXL base 1.0: UNet 2567.5 M parameters, VAE 83.7 M, CLIP-L 123.1 M, CLIP-G 694.7 M."""
    unet = {
        "act_fn": "silu",
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        # diffusers reads this as the NUMBER of heads, each of 64 channels.
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "center_input_sample": False,
        "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "out_channels": 4,
        "projection_class_embeddings_input_dim": 2816,
        "resnet_time_scale_shift": "default",
        "sample_size": 128,
        "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": True,
    }
    vae = {
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        # The decoder overflows float16: diffusers then decodes in float32.
        "force_upcast": True,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 1024,
        "scaling_factor": 0.13025,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    return Architecture(
        unet=unet,
        vae=vae,
        text_encoder=text_config(hidden=768, layers=12, heads=12, activation="quick_gelu", pad=tokens.PAD_L),
        text_encoder_2=text_config(hidden=1280, layers=32, heads=20, activation="gelu", pad=tokens.PAD_G),
    )


def is_sdxl(architecture: Architecture) -> bool:
    """Whether the networks are SDXL's own, so that its written-out configurations describe them."""
    return all(
        getattr(architecture, component).get(key) == value
        for component in COMPONENTS
        for key, value in getattr(sdxl_configs(), component).items()
        if key != "sample_size"  # a default of pipelines, no part of the network
    )


def text_config(*, hidden: int, layers: int, heads: int, activation: str, pad: int) -> dict[str, Any]:
    """A CLIP text encoder over the full vocabulary and 77 positions."""
    return {
        "attention_dropout": 0.0,
        # SDXL's own files say eos_token_id 2, for which transformers guesses the EOS by the largest id.
        "bos_token_id": tokens.BOS,
        "eos_token_id": tokens.EOS,
        "hidden_act": activation,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": tokens.CHUNK,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": pad,
        "projection_dim": hidden,
        "vocab_size": tokens.VOCAB_SIZE,
    }


def build_network(architecture: Architecture, component: Component) -> Any:
    """One network with freshly initialised weights, on the default device and in the default dtype.

    What can get no gradient is frozen: the VAE, and the unused end of CLIP-L.
    """
    config = getattr(architecture, component)
    match component:
        case "unet":
            return UNet2DConditionModel.from_config(config)
        case "text_encoder":
            text_encoder = CLIPTextModel(CLIPTextConfig(**config))
            freeze_unused(text_encoder)
            return text_encoder
        case "text_encoder_2":
            return CLIPTextModelWithProjection(CLIPTextConfig(**config))
        case "vae":
            return AutoencoderKL.from_config(config).requires_grad_(False).eval()


def build_seeded(
    architecture: Architecture, component: Component, *, seed: int, dtype: torch.dtype = torch.float32
) -> Any:
    """One network on the CPU whose initial weights are a pure function of `seed`: drawn in float32, kept in `dtype`.

    torch initialises from its global generator; it is forked, so the caller's state is untouched.
    """
    with torch.random.fork_rng(devices=[]), ExitStack() as context:
        torch.manual_seed(key_for(seed, Purpose.INIT, COMPONENTS.index(component)) % 2**63)
        if component == "unet":
            # Layer by layer as they are made: SDXL's UNet takes 10 GB in float32. CLIP is initialised anew at its end.
            hook = register_module_module_registration_hook(lambda _, name, layer: nn.Module.to(layer, dtype))
            context.callback(hook.remove)
        network: nn.Module = build_network(architecture, component)
        return nn.Module.to(network, dtype)


def build_random(architecture: Architecture, *, seed: int) -> Sdxl:
    """All networks with initial weights that are a pure function of `seed`, float32 on the CPU."""
    return Sdxl(
        architecture, **{component: build_seeded(architecture, component, seed=seed) for component in COMPONENTS}
    )


class Sdxl(nn.Module):
    """UNet and two text encoders as trained children, and a frozen float32 VAE beside them.

    Only the three children are in `parameters()` and `state_dict()`. The VAE moves along to a device but keeps its
    dtype.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        vae: AutoencoderKL | None = None,
        parameterization: Parameterization = EPSILON,
        logit_scale: float = LOGIT_SCALE,
    ):
        super().__init__()
        self.architecture = architecture
        self.parameterization = parameterization
        """What the loaded weights predict (training may teach them otherwise)."""
        self.logit_scale = logit_scale
        self.mask_padding = False
        """Whether cross-attention is kept from seeing the padding of prompts."""
        self.offload_frozen = False
        """Whether frozen text encoders and the VAE are on the device only while they are used."""
        self.unet = unet
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2
        # In a tuple, torch does not register it: it is neither trained, saved nor sharded.
        self._vae = (vae,)

    @property
    def vae(self) -> AutoencoderKL | None:
        """The VAE, when it was loaded."""
        return self._vae[0]

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.unet.device

    @property
    def scaling_factor(self) -> float:
        """What unscaled latents are multiplied by for the UNet: 0.13025."""
        return float(self.architecture.vae["scaling_factor"])

    def encode_text(self, token_ids: Tensor) -> TextStates:
        """Text states of int64 (b, 2, 77 * chunks): hidden (b, 77 * chunks, 2048) and pooled (b, 1280)."""
        with self._present(self.text_encoder), self._present(self.text_encoder_2):
            return encode_text(self.text_encoder, self.text_encoder_2, token_ids, mask_padding=self.mask_padding)

    def encode_weighted(
        self, token_ids: Tensor, weights: Tensor, *, emphasis: Literal["comfyui", "a1111"]
    ) -> TextStates:
        """Text states of int64 (b, 2, 77 * chunks) in which each place counts as float32 (b, 77 * chunks) says."""
        nothing = torch.from_numpy(tokens.tokenize("", chunks=1))[None].to(token_ids.device)
        return weigh_text(
            self.encode_text(token_ids),
            self.encode_text(nothing),
            weights,
            width_l=self.text_encoder.config.hidden_size,
            emphasis=emphasis,
        )

    def join_texts(self, texts: Sequence[TextStates]) -> TextStates:
        """The samples of several texts of one number of chunks, in their order."""
        return join_texts(texts)

    def drop_pooled(self, text: TextStates, dropped: Tensor) -> TextStates:
        """The text states with zeros for the pooled vector where bool `dropped` (b,) is set."""
        return text._replace(pooled=text.pooled.masked_fill(dropped[:, None], 0))

    def predict(self, x_t: Tensor, timesteps: Tensor, text: TextStates, time_ids: Tensor) -> Tensor:
        """The UNet's prediction, float32 (b, 4, h, w).

        `x_t` is float32 (b, 4, h, w), scaled and noised; `timesteps` (b,) int64, or float32 for a flow, which the UNet
        embeds in float32; `time_ids` float32 (b, 6), pixels.
        Inputs are cast to the UNet's dtype here and nowhere else, so noise and targets stay float32.
        """
        dtype = self.unet.dtype
        (prediction,) = self.unet(
            x_t.to(dtype),
            timesteps,
            text.hidden.to(dtype),
            added_cond_kwargs=added_conditions(text.pooled.to(dtype), time_ids),
            encoder_attention_mask=text.mask,
            return_dict=False,
        )
        return prediction.float()

    def scale(self, latents: Tensor) -> Tensor:
        """Unscaled latents as the UNet takes them."""
        return latents * self.scaling_factor

    def unscale(self, latents: Tensor) -> Tensor:
        """The UNet's latents as the VAE takes them."""
        return latents / self.scaling_factor

    def encode_pixels(self, pixels: Tensor, *, tiled: bool = False) -> Tensor:
        """The unscaled posterior mean, float32 (b, 4, h / 8, w / 8), of RGB uint8 (b, 3, h, w)."""
        vae = self._need_vae()
        with self._present(vae), tiling(vae, enabled=tiled):
            return encode_pixels(vae, pixels)

    def decode(self, latents: Tensor, *, tiled: bool = False) -> Tensor:
        """RGB uint8 (b, 3, 8 h, 8 w) of scaled latents (b, 4, h, w)."""
        vae = self._need_vae()
        with self._present(vae), tiling(vae, enabled=tiled):
            return decode_latents(vae, self.unscale(latents))

    def _present(self, network: nn.Module) -> AbstractContextManager[None]:
        """Within the block the network is on the device."""
        if self.offload_frozen and not any(parameter.requires_grad for parameter in network.parameters()):
            return visiting(network, self.device)
        return nullcontext()

    def _need_vae(self) -> AutoencoderKL:
        assert self.vae is not None, "these models were built without a VAE"
        return self.vae

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Sdxl:
        super()._apply(fn, recurse)
        # `fn` itself may cast or empty its tensor, which the frozen VAE must not undergo.
        vae: nn.Module | None = self.vae
        if vae is not None and self.device.type != "meta" and not self.offload_frozen:
            vae.to(self.device)
        return self
