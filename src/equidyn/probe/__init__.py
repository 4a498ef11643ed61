"""Measuring what is not ours: ASE calculators, torch models, a user's training loop.

Needs torch, numpy and scipy; ase where a calculator is measured.
"""
