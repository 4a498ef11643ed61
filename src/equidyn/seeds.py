"""Seeds of what is drawn once and for all: the same for every run, every seed of a config, and every
checkpoint.

So curves of different runs and checkpoints differ by the models alone. What a config's own ``seed`` decides
(data, initial weights, batches, augmentation) is not here.
"""

ROTATIONS = 20_251_001  # of held-out items, in the decomposition
SUBSETS = 20_251_002  # which items a smaller set has; subsets are nested
CHIRALITY_ROTATIONS = 20_251_004
GRADIENT_ROTATIONS = 20_251_005
CURVATURE_ROTATIONS = 20_251_006  # fresh draws of the landscape continue from here
FLOW_NOISE = 20_252_002  # x_0 of a held-out chain, the same for every flow time
SEEN_NOISE = 20_252_004  # of training grids that are measured beside held-out ones
FLOW_FIT_NOISE = 20_252_003  # x_0 of the training chains that the trivial predictor is fitted on
