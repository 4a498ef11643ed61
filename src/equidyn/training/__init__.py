"""Training loop and checkpoints; knows tasks and models only through their protocols."""
