"""Every column of every table of a run: unit and meaning.

The one home that writers, readers and ``docs/tables.md`` share.

The twin of ``equidyn.data.schema``, which has the keys of dataset files and the columns of the lists beside
them. Loss units are those of the task's squared error: (eV/Å)² for forces, nm² for flow velocities, 1 for
voxels.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of a table; values are numbers but where ``text``."""

    unit: str
    meaning: str
    text: bool = False


RUN = Column("", "name of the run", text=True)
TASK = Column("", "forces, voxels or flow", text=True)
STEP = Column("1", "training step of the checkpoint")
CONDITION = Column(
    "", "under which the loss is measured, a flow time; empty where a task has none", text=True
)
N_ITEMS = Column("1", "held-out items")
N_ROTATIONS = Column("1", "rotations per item")
SECONDS = Column("s", "time that the row took; not reproducible")
PERCENT = Column("%", "equivariance error over total loss")
RATIO_LO = Column("1", "lower end of its 95 % interval, bootstrap over items")
RATIO_HI = Column("1", "upper end of its 95 % interval")

DECOMPOSITION = {
    "run": RUN,
    "task": TASK,
    "step": STEP,
    "condition": CONDITION,
    "items": Column("", "held-out, or training: those that the model was trained on", text=True),
    "weights": Column("", "live, or ema (exponential moving average)", text=True),
    "rotations": Column("", "haar; cube, from or all of the 24; cube-24, all of them", text=True),
    "loss": Column(
        "", "mse; l2, mean length of the error, jackknifed over rotations; l2-plugin, without", text=True
    ),
    "total": Column("loss", "mean loss over items and rotations"),
    "twirled": Column("loss", "loss of the twirled prediction: total less equivariance"),
    "equivariance": Column("loss", "equivariance error"),
    "percent": PERCENT,
    "percent_lo": Column("%", "lower end of its 95 % interval, jackknife over clusters"),
    "percent_hi": Column("%", "upper end of its 95 % interval"),
    "zero_loss": Column("loss", "of predicting zero"),
    "trivial_loss": Column(
        "loss", "of the best rescaling of the input; zero_loss where there is none better"
    ),
    "baseline": Column(
        "", "best of the equivariant predictors that learned nothing of the task, by name", text=True
    ),
    "baseline_loss": Column("loss", "its loss on the same items"),
    "baseline_ratio": Column("1", "total over baseline_loss"),
    "baseline_ratio_lo": Column("1", "lower end of its 95 % interval, paired, jackknife over clusters"),
    "baseline_ratio_hi": Column("1", "upper end of its 95 % interval"),
    "relative_equivariance": Column(
        "1", "equivariance error over the size of the prediction in the same loss"
    ),
    "augment": Column("1", "probability of a fresh rotation of a training item"),
    "pose_deviation": Column(
        "1", "of training poses from isotropic, in the standard deviations of isotropic ones"
    ),
    "pose_second": Column(
        "1", "largest diagonal element of their mean gyration tensor over its trace: 1/3 if isotropic"
    ),
    "pose_fourth": Column("1", "mean Σ u_k⁴ of their longest axes u: 0.6 if isotropic, 1 along one axis"),
    "floor": Column(
        "loss",
        "equivariance error of an exactly equivariant control: rounding; rows haar of voxels: interpolation",
    ),
    "n_items": N_ITEMS,
    "n_rotations": N_ROTATIONS,
    "seconds": SECONDS,
    "variance_items": Column("loss²", "variance of the loss between items"),
    "variance_rotations": Column("loss²", "variance of an item's loss over rotations"),
}
GRADIENTS = {
    "run": RUN,
    "task": TASK,
    "step": STEP,
    "condition": CONDITION,
    "norm_equivariance": Column("loss", "norm over all parameters of the gradient of the equivariance error"),
    "norm_twirled": Column("loss", "norm of the gradient of the twirled error"),
    "ratio": Column("1", "the former over the latter"),
    "cosine": Column("1", "of the angle between the two"),
    "percent": PERCENT,
    "n_items": N_ITEMS,
    "n_rotations": N_ROTATIONS,
    "seconds": SECONDS,
}
CURVATURE = {
    "run": RUN,
    "task": TASK,
    "step": STEP,
    "condition": CONDITION,
    "block": Column("", "parameters over which the Hessian is taken", text=True),
    "term": Column("", "twirled or equivariance", text=True),
    "largest": Column("loss", "largest eigenvalue"),
    "smallest_positive": Column("loss", "smallest eigenvalue above the threshold"),
    "most_negative": Column("loss", "lowest eigenvalue"),
    "condition_number": Column("1", "largest over smallest positive"),
    "threshold": Column("loss", "below it eigenvalues count as zero"),
    "trace": Column("loss", "sum of the eigenvalues"),
    "trace_error": Column("loss", "standard error of the trace; 0 where exact"),
    "effective_rank": Column("1", "trace over largest"),
    "n_above": Column("1", "eigenvalues above the threshold; nan with lanczos"),
    "n_parameters": Column("1", "size of the block"),
    "method": Column("", "dense or lanczos", text=True),
    "residual": Column("1", "largest ‖Hv − λv‖ of the reported pairs over the largest eigenvalue"),
    "largest_ratio": Column("1", "largest eigenvalue, twirled over equivariance; in both rows"),
    "largest_ratio_lo": RATIO_LO,
    "largest_ratio_hi": RATIO_HI,
    "trace_ratio": Column("1", "trace, twirled over equivariance"),
    "trace_ratio_lo": RATIO_LO,
    "trace_ratio_hi": RATIO_HI,
    "effective_rank_ratio": Column("1", "effective rank, twirled over equivariance"),
    "effective_rank_ratio_lo": RATIO_LO,
    "effective_rank_ratio_hi": RATIO_HI,
    "n_items": N_ITEMS,
    "n_rotations": N_ROTATIONS,
    "rotations": Column("", "haar or cube", text=True),
    "seconds": SECONDS,
}
HEAD = {
    "run": RUN,
    "step": STEP,
    "head_variance": Column("1", "variance of the force head over its rows, mean over columns"),
    "head_variance_relative": Column("1", "the same over the mean square of the head"),
    "equivariance": Column("(eV/Å)²", "equivariance error, measured with the 24 rotations of the cube"),
    "quadratic_form": Column("(eV/Å)²", "the same in closed form"),
    "features_part": Column("1", "part of the features in the change of its logarithm since the row before"),
    "head_part": Column("1", "part of the head in that change"),
    "change": Column("1", "the change, sum of both parts"),
}
CHIRALITY = {
    "run": RUN,
    "step": STEP,
    "condition": CONDITION,
    "gap": Column("loss", "twirled loss on mirrored items less that on the items"),
    "lo": Column("loss", "lower end of its 95 % interval, paired over items"),
    "hi": Column("loss", "upper end of its 95 % interval"),
    "plain": Column("loss", "twirled loss on the items"),
    "mirrored": Column("loss", "twirled loss on the mirrored items"),
    "n_items": N_ITEMS,
}
ACCURACY = {
    "run": RUN,
    "step": STEP,
    "weights": Column("", "live, ema, or clean grids: what peaks of the truth would give", text=True),
    "quantity": Column(
        "", "errors of forces (components) and energies; recall and precision of atoms at peaks", text=True
    ),
    "element": Column("", "that it is about; empty for all", text=True),
    "value": Column("as the column unit says", "on held-out items as they lie"),
    "unit": Column("", "meV/Å, meV or 1", text=True),
    "n": Column("1", "components, atoms, molecules or peaks that it is a mean over"),
}
_VECTORS = (
    ("position", "Å", "of the atom"),
    ("target", "eV/Å", "true force"),
    ("predicted", "eV/Å", "predicted force, as the molecule lies"),
    ("twirled", "eV/Å", "the same averaged over the 24 rotations of the cube"),
)
MOLECULE = {
    "run": RUN,
    "step": STEP,
    "atom": Column("1", "of one held-out molecule, from 0"),
    "number": Column("1", "atomic number"),
    **{
        f"{name}_{axis}": Column(unit, f"{meaning}, {axis}")
        for name, unit, meaning in _VECTORS
        for axis in "xyz"
    },
}
SAMPLES = {
    "chains": Column("", "generated, or held out", text=True),
    "n_chains": Column("1", "chains"),
    "bond_mean": Column("Å", "mean distance of consecutive C-alphas"),
    "bond_std": Column("Å", "standard deviation of that distance"),
    "bonds_within": Column("1", "share of bonds of 3.8 ± 0.4 Å"),
    "radius_of_gyration": Column("Å", "mean radius of gyration"),
    "radius_over_power": Column("Å", "mean of radius over length^0.4"),
    "clashes": Column(
        "1", "pairs of C-alphas three or more apart along the chain and closer than 3.5 Å, per residue"
    ),
    "helix_share": Column("1", "share of quadruplets of consecutive C-alphas that are helical"),
    "right_handed": Column("1", "right-handed helical quadruplets"),
    "left_handed": Column("1", "left-handed ones"),
    "right_share": Column("1", "share of the right-handed ones; nan if there are none"),
}
SYMMETRIES = {
    "run": RUN,
    "task": TASK,
    "step": STEP,
    "condition": CONDITION,
    "symmetry": Column("", "rotation, inversion, translation or permutation", text=True),
    "elements": Column("", "which of its elements are drawn, and how many", text=True),
    "total": Column("loss", "mean loss over items and elements"),
    "twirled": Column("loss", "loss of the mean over elements: total less equivariance"),
    "equivariance": Column("loss", "variance of the prediction over elements"),
    "percent": Column("%", "the same over total"),
    "percent_lo": Column("%", "lower end of its 95 % interval, jackknife over clusters"),
    "percent_hi": Column("%", "upper end of its 95 % interval"),
    "relative_equivariance": Column("1", "equivariance over the mean square of the prediction"),
    "floor": Column("loss", "variance of the rounding error over elements, by a float64 copy of the model"),
    "exact": Column("", "yes, where equivariance is within ten floors; no", text=True),
    "n_items": N_ITEMS,
    "n_transformations": Column("1", "elements per item"),
    "seconds": SECONDS,
}
TWIRLS = {
    "run": RUN,
    "task": TASK,
    "step": STEP,
    "condition": CONDITION,
    "rotations": Column("", "haar, or cube, without replacement from the 24", text=True),
    "n": Column("1", "rotations that a prediction is averaged over"),
    "total": Column("loss", "measured loss of the average"),
    "total_lo": Column("loss", "lower end of its 95 % interval, jackknife over clusters"),
    "total_hi": Column("loss", "upper end of its 95 % interval"),
    "expected": Column("loss", "twirled + equivariance / n, of the cube (24 - n) / 23 times the second term"),
    "twirled": Column("loss", "loss of the twirled prediction, from the same 24 poses"),
    "equivariance": Column("loss", "equivariance error, from the same 24 poses"),
    "excess": Column("1", "total over twirled, less 1"),
    "seconds": Column("s", "an average of one item took; not reproducible"),
    "n_items": N_ITEMS,
}
TIMING = {
    "run": RUN,
    "task": TASK,
    "round": Column("1", "in which every run of the table has a turn, one after the other"),
    "step_seconds": Column("s", "a training step took; not reproducible"),
    "item_seconds": Column("s", "a prediction of one held-out item took; not reproducible"),
    "parameters": Column("1", "numbers that are trained"),
    "train_flops": Column("FLOP", "of a training step, forward and backward, counted"),
    "item_flops": Column("FLOP", "of a prediction of one item, counted"),
    "batch_size": Column("1", "items of a step"),
    "n_train": Column("1", "training items"),
    "threads": Column("1", "of torch"),
    "hardware": Column("", "processor or card", text=True),
}
EFFICIENCY = {
    "comparison": Column("", "its name in the config", text=True),
    "task": TASK,
    "run": RUN,
    "role": Column("", "agnostic, equivariant or between", text=True),
    "condition": CONDITION,
    "n_train": Column("1", "training items"),
    "n_seeds": Column("1", "runs that differ in the seed alone"),
    "parameters": TIMING["parameters"],
    "train_flops": TIMING["train_flops"],
    "item_flops": TIMING["item_flops"],
    "steps": Column("1", "of training"),
    "step_seconds": Column("s", "of a training step, geometric mean over rounds; not reproducible"),
    "step_ratio": Column("1", "over that of the agnostic network, in the same rounds"),
    "step_ratio_lo": Column("1", "lower end of its 95 % interval, Student's over rounds"),
    "step_ratio_hi": Column("1", "upper end of its 95 % interval"),
    "item_seconds": Column("s", "of a prediction of one item, likewise"),
    "budget": Column("s", "of training at which it is compared: the shorter of the pair's"),
    "total": Column("loss", "at the end of training, mean over seeds"),
    "twirled": Column("loss", "likewise: with symmetry for free"),
    "percent": Column("%", "equivariance error over total at the end, mean over seeds"),
    "floors": Column("1", "largest equivariance error of any checkpoint, in floors"),
    "loss_ratio": Column("1", "loss of the agnostic network over this one's, both at the budget"),
    "loss_ratio_lo": Column("1", "lower end of its 95 % interval, Welch's over seeds"),
    "loss_ratio_hi": Column("1", "upper end of its 95 % interval"),
    "crossing": Column("s", "of training after which it has the lower loss for good, mean over seeds"),
    "crossing_lo": Column("s", "lower end of its 95 % interval, Student's over seeds"),
    "crossing_hi": Column("s", "upper end of its 95 % interval"),
    "n_crossing": Column("1", "seeds in which there is such a crossing"),
    "break_even": Column(
        "1", "times dearer per step it may be, to have the agnostic one's loss at the budget"
    ),
    "break_even_lo": Column("1", "lowest over seeds"),
    "break_even_hi": Column("1", "highest over seeds"),
    "n_break_even": Column("1", "seeds in which it has that loss between its first and last step"),
    "rotations": Column(
        "1",
        "fewest over which the agnostic network's mean, P + E/n, has this loss at the end; inf: none",
    ),
    "item_ratio": Column("1", "time per prediction of that mean over this one's; inf: it never has the loss"),
}
CLAIMS = {
    "claim": Column("", "C1 to C11", text=True),
    "statement": Column("", "what the paper claims, or what we ask (C11)", text=True),
    "place": Column("", "where in the paper, and the task", text=True),
    "paper": Column("", "the paper's number", text=True),
    "ours": Column("", "ours"),
    "lo": Column("", "lower end of its interval or range"),
    "hi": Column("", "upper end of its interval or range"),
    "verdict": Column("", "by the rules of results/verdicts.py and results/claims/", text=True),
    "conditions": Column("", "under which the verdict stands", text=True),
}
ESTIMATE = {
    "of": Column("", "download, dataset, run or all", text=True),
    "name": Column("", "its name", text=True),
    "quantity": Column("", "disk, memory, FLOP, hours, …", text=True),
    "device": Column("", "of quantities that depend on one", text=True),
    "value": Column("as the column unit says", "the estimate; empty where it is not known"),
    "unit": Column("", "byte, hour or 1", text=True),
    "basis": Column("", "how the number is known", text=True),
}
STAGES = {
    "rule": Column("", "of the workflow", text=True),
    "job": Column("", "run, dataset or figure", text=True),
    "seconds": Column("s", "wall clock of the job; not reproducible"),
    "cpu_seconds": Column("s", "of the processor, as Snakemake sampled it; nan of the shortest"),
    "peak_mib": Column("MiB", "largest resident memory, as Snakemake sampled it; nan of the shortest"),
    "estimated_seconds": Column("s", "by the config's estimate, on this processor; nan where there is none"),
    "estimated_mib": Column("MiB", "by the config's estimate, host and device; nan where there is none"),
}
THROUGHPUT = {
    "device": Column("", "processor or card", text=True),
    "task": TASK,
    "model": Column("", "architecture and size", text=True),
    "achieved_flops": Column("FLOP/s", "of training steps"),
    "source": Column("", "how it was measured", text=True),
    "date": Column("", "when", text=True),
}
METRICS = {
    "step": STEP,
    "lr": Column("1", "learning rate"),
    "loss": Column("1", "training loss of the batch, in training units"),
    "gradient_norm": Column("1", "norm of its gradient before clipping"),
    "force_loss": Column("1", "forces: its part of forces, unweighted"),
    "energy_mae": Column("eV", "forces: mean absolute error of energies, per atom"),
    "mse": Column("1", "voxels: mean squared error"),
    "flow_loss": Column("1", "flow: its part of velocities"),
    "distogram_loss": Column("1", "flow: its part of distances; 0 of models without pair updates"),
    "equivariance": Column("1", "with an equivariance penalty: its value, unweighted"),
}

TABLES = {  # by the name of the file
    "decomposition.csv": DECOMPOSITION,
    "gradients.csv": GRADIENTS,
    "curvature.csv": CURVATURE,
    "head.csv": HEAD,
    "chirality.csv": CHIRALITY,
    "accuracy.csv": ACCURACY,
    "molecule.csv": MOLECULE,
    "samples.csv": SAMPLES,
    "symmetries.csv": SYMMETRIES,
    "twirls.csv": TWIRLS,
    "timing.csv": TIMING,
    "efficiency.csv": EFFICIENCY,
    "claims.csv": CLAIMS,
    "estimate.csv": ESTIMATE,
    "stages.csv": STAGES,
    "throughput.csv": THROUGHPUT,
    "metrics.csv": METRICS,
}


def markdown() -> str:
    """The tables as a page of documentation, ``docs/tables.md``."""
    lines = [
        "# Columns of the tables",
        "",
        "Written by `python -m equidyn.results.columns`; a test compares. Tables of a run lie in "
        "`results/[<config>/]runs/<run>/`, `claims`, `efficiency`, `timing-<task>`, `estimate` and `stages` "
        "in `results/[<config>/]`; `symmetries` and `twirls` are written on request, `throughput` is in "
        "`resources/`. Unit `loss`: that of the task's squared error, (eV/Å)² for forces, nm² for flow, 1 "
        "for voxels; of rows `l2` eV/Å.",
        "",
    ]
    for file, table in TABLES.items():
        lines += [f"## {file}", "", "| column | unit | meaning |", "|---|---|---|"]
        lines += [f"| {name} | {column.unit} | {column.meaning} |" for name, column in table.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(), end="")
