"""Training: a thin Lightning trainer over the pieces of `data`, `models` and `diffusion`.

    cli.train -> train.run.run -> Trainer.fit -> module.training_step -> diffusion.loss.diffusion_loss

A run is a pure function of its config and the optimizer step: the data plan, every random draw and the learning rate
are computed from the step, so a checkpoint holds weights, optimizer state and one counter.
"""
