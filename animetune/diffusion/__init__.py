"""The diffusion process as pure functions, in the order in which a training step uses them.

    schedule   alpha_t, sigma_t, snr_t of the 1000 steps, with or without a zero terminal SNR, and of a rectified flow
    timesteps  when each sample is trained: any density and range, alone or stratified over the global batch
    noise      which noise each sample gets, and x_t = alpha_t x_0 + sigma_t noise
    targets    what the model has to predict (epsilon, v or the flow's velocity), and back from it to x_0 and noise
    penalty    what an error costs: squares or pseudo-Huber, under a mask
    weighting  the factor on each sample's loss
    loss       all of it: `diffusion_loss`, one training step on one page
    sampler    the way back, from noise to latents

Nothing here knows how a model is built: it is handed in, as a `denoiser.DenoiserProtocol`.
"""
