"""The sections of a config as typed models: names, types, bounds, defaults and descriptions of all keys.

What checks a config, its JSON schema (``config/schema.json``) and the tables of ``config/README.md`` are
made of these. A key without a default must be given, in ``defaults.<task>`` or in the run; one whose default
is ``ABSENT`` may be left out.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from equidyn.defaults import (
    AVERAGE,
    BETAS,
    CHECKPOINTS_FROM,
    COPIES,
    DEVICE,
    DROPOUT,
    EPS,
    EQUIVARIANCE_PENALTY,
    EXECUTION,
    OFF_GRID,
    OFFLINE,
    PRECISION,
    PROCESSES,
)

ABSENT: Any = None  # as a default: the key may be left out; an explicit null is refused
NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]*$"
IMPORT_PATH = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
ADDRESS = r"^https?://[^\s]+$"
LARGEST_SEED = 4294967295
CUBE_ORDER = 24  # rotations of the cube


def _distinct(values: list) -> list:
    if twice := sorted({value for value in values if values.count(value) > 1}, key=str):
        raise ValueError(f"each entry once, found {twice} more than once")
    return values


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("an odd number, so that the centre is a node")
    return value


def _not_one(value: int) -> int:
    if value == 1:
        raise ValueError("0, or at least 2: one rotation tells nothing")
    return value


def _value_of_axis(value: Any) -> Any:
    if not isinstance(value, str | int | float) or value == "":
        raise ValueError("text, a number, or true or false")
    return value


Name = Annotated[str, Field(pattern=NAME)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
Distinct = AfterValidator(_distinct)
Times = Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Distinct]


class Section(BaseModel):
    """Keys as described and no others; 1.0 is no integer, 1 no truth value, nan and infinity no numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Model(Section):
    """A declared architecture in a named size, or a class of an installed package."""

    architecture: str = Field(
        ABSENT, description="one that a module of `src/equidyn/models` or a file of `extensions` declares"
    )
    size: str = Field(ABSENT, description="named size of the architecture, see its module")
    import_: str = Field(
        ABSENT,
        alias="import",
        pattern=IMPORT_PATH,
        description="in place of architecture and size: `package.module:Class` of an installed package",
    )
    options: dict[str, Any] = Field(
        ABSENT,
        description="single entries of the size to override (`tied: true` is EScAIP's equivariant control, "
        "`n_channels` VoxMol's number of elements), or arguments of the imported class",
    )


class Training(Section):
    """What trains: optimizer, schedule, data, checkpoints."""

    optimizer: Literal["adamw", "sgd", "muon"] = Field(
        description="AdamW; SGD with momentum 0.9; Muon on matrices with AdamW on the rest"
    )
    lr: AboveZero = Field(description="peak learning rate")
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        list(BETAS), min_length=2, max_length=2, description="of AdamW"
    )
    eps: NotNegative = Field(
        EPS, description="of AdamW; 0 (as published for VoxMol) leaves entries of zero second moment alone"
    )
    weight_decay: NotNegative = Field(description="on matrices only")
    warmup: Positive = Field(description="steps of linear warm-up")
    final_lr_fraction: Share = Field(description="of lr, at the end of the cosine")
    steps: Positive = Field(description="optimizer steps")
    batch_size: Positive = Field(description="items per step")
    micro_batch: Positive = Field(
        ABSENT,
        description="items per forward and backward pass, where a batch does not fit the device; of forces "
        "each part is a mean over its own atoms, so that molecules weigh a little otherwise",
    )
    processes: Positive = Field(
        PROCESSES,
        description="that share a run's batches and its measuring (torchrun), each with a GPU where there "
        "are any; draws are those of one process with as many micro-batches",
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        PRECISION,
        description="of training; measuring is always float32. tf32: matrix products and convolutions on a "
        "GPU in TF32; bf16: forward passes in bfloat16, the rest in TF32",
    )
    execution: Literal["eager", "compiled", "graphs", "compiled-graphs"] = Field(
        EXECUTION,
        description="of forward and backward passes of training: op by op, by torch.compile, as CUDA "
        "graphs, one for each shape of a batch (on a CPU op by op), or both; lengths are rounded up for all "
        "but the first",
    )
    clip: AboveZero = Field(description="gradient-norm clip")
    ema: Share = Field(
        description="final decay of the averaged weights; in the first steps (1 + step) / (10 + step) where "
        "that is smaller"
    )
    n_checkpoints: int = Field(
        ge=2, le=200, description="log-spaced checkpoints, first and last step included"
    )
    checkpoints_from: int = Field(
        CHECKPOINTS_FROM, ge=0, description="step of the first checkpoint, at most steps"
    )
    log_every: Positive = Field(description="steps between rows of `metrics.csv`")
    n_train: Positive = Field(
        ABSENT,
        description="train on so many items only, drawn at random; a smaller subset is part of a larger one",
    )
    augment: Share = Field(description="probability that an item is rotated (Haar) with its target")
    copies: Positive = Field(
        COPIES,
        description="rotated copies of each item in a batch of `batch_size` rows, which it divides; more "
        "than one needs augment = 1",
    )


PENALTY = Field(
    EQUIVARIANCE_PENALTY,
    description="weight of the batch's equivariance error, in units of the zero predictor's loss (flow: "
    "nm²), beside the loss; costs one more forward and backward pass",
)


AVERAGED = Field(
    AVERAGE,
    description="predictions of the training loss are means over that many rotations of every item, at as "
    "many times the cost; 1: of items as they lie",
)


class ForcesTraining(Training):
    """Of the task forces."""

    average: Positive = AVERAGED
    equivariance_penalty: NotNegative = PENALTY
    loss: Literal["l2", "mse"] = Field(
        description="force loss: mean length of the error (upstream), or mean square"
    )
    energy_weight: NotNegative = Field(description="weight of the scaled energy MAE")
    force_weight: NotNegative = Field(description="weight of the scaled force loss")


class VoxelsTraining(Training):
    """Of the task voxels."""

    average: Annotated[int, Field(ge=1, le=24)] = AVERAGED
    equivariance_penalty: NotNegative = PENALTY
    sigma: AboveZero = Field(description="standard deviation of the noise")
    shift: NotNegative = Field(description="half width in Å of the uniform random shift")
    sampler: Literal["haar", "euler"] = Field(
        description="rotations of the augmentation; euler (three uniform angles) is the published one and "
        "not uniform"
    )


class FlowTraining(Training):
    """Of the task flow."""

    average: Positive = AVERAGED
    equivariance_penalty: NotNegative = PENALTY
    self_conditioning: Share = Field(description="probability, per batch, of a first pass that gives x_sc")


class Measure(Section):
    """What a checkpoint is measured with."""

    n_items: int = Field(ge=2, description="held-out items, one per cluster (molecule, sequence cluster)")
    n_rotations: int = Field(ge=2, description="Haar rotations per item")
    batch_size: Positive = Field(description="items per forward pass")


class VoxelsMeasure(Measure):
    """Of the task voxels."""

    n_rotations: int = Field(
        ge=2, le=CUBE_ORDER, description="of the 24 rotations of the cube, drawn per item without replacement"
    )
    off_grid: Annotated[int, AfterValidator(_not_one)] = Field(
        OFF_GRID,
        ge=0,
        description="Haar rotations per item of an off-grid measurement at the last checkpoint; 0: none",
    )


class FlowMeasure(Measure):
    """Of the task flow."""

    times: Times = Field(min_length=1, description="flow times at which the loss is split")
    self_conditioning_times: Times = Field(
        ABSENT, description="times measured once more with self-conditioning on; all of them where absent"
    )


class Sample(Section):
    """Flow: chains from the last checkpoint's EMA weights."""

    n_chains: Positive = Field(description="backbones to generate, at most `measure.n_items`")
    steps: Positive = Field(description="Euler steps from t = 0 to 1")


class Dynamics(Section):
    """Gradients and curvature, analysed where a run has this section."""

    n_items: int = Field(ge=2, description="held-out items of gradients and curvature, fixed")
    n_rotations: int = Field(
        ge=2, description="rotations per item; landscapes take at most 10 of the task's own (voxels 4)"
    )
    block: str = Field(
        min_length=1,
        description="parameters whose Hessians are taken: a name or a regular expression of names, `name[i]` "
        "for entry i of the first axis",
    )
    other_blocks: Annotated[list[Annotated[str, Field(min_length=1)]], Distinct] = Field(
        ABSENT,
        min_length=1,
        description="further ones, at the last checkpoint only; the landscape is that of `block`",
    )
    n_checkpoints: int = Field(
        ge=1, le=3, description="checkpoints with curvature: the last, the dip, the first that counts"
    )
    grid: Annotated[int, AfterValidator(_odd)] = Field(
        ge=3, description="landscape nodes per axis, odd so that the centre is one"
    )
    span: AboveZero = Field(description="landscape half-width along each direction, in norms of the block")
    dropout: float = Field(
        DROPOUT,
        ge=0,
        lt=1,
        description="probability of the model's dropout layers at the landscape's points with fresh draws",
    )
    rotations: Literal["haar", "cube"] = Field(
        ABSENT, description="of gradients and curvature; the task's own where absent"
    )


class Settings(Section):
    """A task's defaults; a run's own keys override them."""

    model: Model = Field(description="see Model")
    training: Training = Field(description="see Training")
    measure: Measure = Field(description="see Measure")
    dynamics: Dynamics = Field(ABSENT, description="see Dynamics")


class ForcesSettings(Settings):
    """Of the task forces."""

    training: ForcesTraining = Field(description="see Training")


class VoxelsSettings(Settings):
    """Of the task voxels."""

    training: VoxelsTraining = Field(description="see Training")
    measure: VoxelsMeasure = Field(description="see Measure")


class FlowSettings(Settings):
    """Of the task flow."""

    training: FlowTraining = Field(description="see Training")
    measure: FlowMeasure = Field(description="see Measure")
    sample: Sample = Field(description="see Sample")


class OutsideTraining(Training):
    """Of a task of ``extensions``, which checks keys of its own in the job."""

    model_config = ConfigDict(extra="allow")


class OutsideMeasure(Measure):
    """Of a task of ``extensions``."""

    model_config = ConfigDict(extra="allow")


class OutsideSettings(Settings):
    """Of a task of ``extensions``."""

    training: OutsideTraining = Field(description="see Training")
    measure: OutsideMeasure = Field(description="see Measure")


class RunKeys(Section):
    """What a run has beside the sections of its task's defaults."""

    task: str = Field(description="`forces`, `voxels`, `flow`, or one that a file of `extensions` declares")
    dataset: str = Field(description="one of `datasets`")
    seed: Seed = Field(
        ABSENT, description="of initial weights, batches and augmentation; that of the config where absent"
    )


class ForcesRun(RunKeys, ForcesSettings):
    """A run of the task forces."""


class VoxelsRun(RunKeys, VoxelsSettings):
    """A run of the task voxels."""


class FlowRun(RunKeys, FlowSettings):
    """A run of the task flow."""


class OutsideRun(RunKeys, OutsideSettings):
    """A run of a task of ``extensions``."""


SETTINGS = {"forces": ForcesSettings, "voxels": VoxelsSettings, "flow": FlowSettings}  # of a task
RUNS = {"forces": ForcesRun, "voxels": VoxelsRun, "flow": FlowRun}


class Group(Section):
    """Runs that vary axes: one per combination of values, named ``<group>-<value>[-<value>…]``."""

    base: dict[str, Any] = Field(description="keys of a run; checked in the expanded runs")
    axes: dict[
        Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)*$")],
        list[Annotated[Any, AfterValidator(_value_of_axis)]],
    ] = Field(
        min_length=1, description="dotted key of a run (`model.size`, `training.lr`, `seed`) to its values"
    )
    reference: str = Field(
        ABSENT, description="run that counts as one more point of the axes and is not trained twice"
    )


class Comparison(Section):
    """Runs that are compared at equal training time; each stands for its replicates by seed in ``matrix``."""

    agnostic: str = Field(description="run of the network without built-in symmetry")
    equivariant: Annotated[list[str], Distinct] = Field(
        min_length=1, description="runs of exactly equivariant networks, its partners"
    )
    between: Annotated[list[str], Distinct] = Field(
        ABSENT,
        description="runs of the agnostic network trained otherwise: augmented, averaged, with a penalty",
    )


class Config(Section):
    """The top level."""

    name: Name = Field(
        description="name of the config; `default` writes to `results/`, any other to `results/<name>/`"
    )
    seed: Seed = Field(
        description="of data, initial weights, batches and augmentation (held-out rotations have a fixed "
        "seed of their own, the same for all runs)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        DEVICE,
        description="where training and measuring run; auto: a GPU where torch finds one, else the CPU; cuda "
        "fails where there is none",
    )
    extensions: Annotated[list[str], Distinct] = Field(
        ABSENT,
        description="Python files outside the package, each of which declares a task, a model, figures or a "
        "reader (`CONTRIBUTING.md`); their digests are among the settings of their runs",
    )
    figures: Annotated[list[str], Distinct] = Field(
        ABSENT,
        description="figures beside those that are always drawn: `published`, runs over the paper's of the "
        "same size",
    )
    offline: bool = Field(OFFLINE, description="download nothing: say which file to put where by hand")
    mirror: str = Field(
        ABSENT,
        pattern=ADDRESS,
        description="address that is asked first for a download, `<mirror>/<name>/<version>/<file>`: the "
        "layout of a `downloads/` folder; what comes from there is checked like any other. Packages come "
        "from the index that pip is configured with",
    )
    proxy: str = Field(
        ABSENT,
        pattern=ADDRESS,
        description="address that downloads go through; as the environment says where absent",
    )
    datasets: dict[Name, dict[str, Any]] = Field(min_length=1, description="by name, see Sources")
    defaults: dict[str, dict[str, Any]] = Field(
        ABSENT,
        description="per task: model, training, measure of all its runs; a run's own keys override them",
    )
    runs: dict[Name, dict[str, Any]] = Field(
        ABSENT, min_length=1, description="by name; may be absent beside `matrix`"
    )
    matrix: dict[Name, Group] = Field(ABSENT, min_length=1, description="groups of runs, by name")
    comparisons: dict[Name, Comparison] = Field(
        ABSENT, min_length=1, description="agnostic against equivariant networks, by name, see Comparison"
    )
