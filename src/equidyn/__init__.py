"""Equidyn: how fast, and how well, does a network without built-in symmetry learn 3D rotations?"""

__version__ = "0.1.0"
