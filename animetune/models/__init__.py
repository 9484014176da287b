"""The networks of SDXL: UNet, two CLIP text encoders and VAE, loaded from any place and held as one module.

    token_ids --text--> TextStates --+
    time_ids --conditioning----------+--> UNet --> prediction          pixels <--vae--> latents

`load.load_models(ModelConfig)` gives an `Sdxl`. `keys` names every tensor in both of the world's layouts.
"""

import logging

# diffusers imports bitsandbytes, which warns about an optional kernel package that nothing here uses.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
