"""The instrument: rotations, how fields transform, the decomposition of a loss.

Pure tensors; no files, no config, no task.
"""
