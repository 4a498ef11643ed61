"""Factors from the units of files to those of a dataset: Å and eV (CODATA 2018; the thermochemical
calorie).
"""

HARTREE = 27.211386245988  # eV
BOHR = 0.529177210903  # Å
KCAL_PER_MOL = 0.0433641153  # eV
