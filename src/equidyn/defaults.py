"""Values of the keys that a config may leave out: shared by its typed models, which show them, and by the
code that reads settings. Resolved settings do not hold them, so that a new key changes no finished run.
"""

DEVICE = "auto"
OFFLINE = False

# of datasets
LABELS = True
LEAKS = "drop"
CLUSTERER = "greedy"
NEUTRAL = False
N_CONFORMERS = 5  # of a molecule of GEOM
POSES = "as-made"
POSES_OF_CONFORMERS = "haar"  # their generator lays them along their principal axes
ENERGY_KEY = "energy"
ENERGIES_KEY = "energies"  # of npz
FORCES_KEY = "forces"

# of training
BETAS = (0.9, 0.999)
EPS = 1e-8
CHECKPOINTS_FROM = 0
COPIES = 1
PROCESSES = 1
EQUIVARIANCE_PENALTY = 0.0
AVERAGE = 1
SELF_CONDITIONING = 0.5
PRECISION = "float32"
EXECUTION = "eager"

# of measuring
OFF_GRID = 0
DROPOUT = 0.0
