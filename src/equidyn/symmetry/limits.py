"""Numbers that rooms must agree on: what verdicts turn on, on our own runs and on other models, and on how
much is measured.
"""

EXACT = 10.0  # × the floor: within that an error is rounding
LEARNED = 0.9  # × the baseline: a curve passes 1.0 while its output is still next to nothing
CUBE_ORDER = 24  # rotations of the cube
FLOOR_ITEMS, FLOOR_ROTATIONS = 4, 4  # that rounding is measured on: enough for its scale
