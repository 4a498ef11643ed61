"""How a model is measured unless one says otherwise, for functions and command alike; read without torch."""

ROTATIONS = 8  # orientations per item
TWIRL_ROTATIONS = 24  # of the command ``twirl``
GROUP = "so3"
QUADRATURE = "haar"  # random orientations
SEED = 0
LIMIT_PERCENT = 2.0  # of the verdict
BATCH_SIZE = 32  # structures in one call of ``calculate_many``, at most
TOLERANCE = "1%"  # what the loss may lie above that of the whole average
