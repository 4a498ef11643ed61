"""What tests share: paths, and settings of tiny datasets and runs."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = dict(
    source="conformers",
    molecules=str(REPOSITORY / "resources/molecules.csv"),
    n_molecules=30,
    n_conformers=60,
    temperature=200,
    max_atoms=36,
    n_held_out=8,
    seed=0,
)
TRAINING = dict(
    optimizer="adamw",
    lr=2e-3,
    weight_decay=0.01,
    warmup=5,
    final_lr_fraction=0.1,
    steps=12,
    batch_size=6,
    clip=10.0,
    ema=0.99,
    n_checkpoints=4,
    log_every=1,
    loss="l2",
    energy_weight=0.05,
    force_weight=1.0,
    augment=0.5,
)
