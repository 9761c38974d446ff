"""The training engine: Brain, loop, optimizers, checkpoints, processes. It knows no speech."""
