# Figures are drawn from tables (and, where named in EXTRA, small files of the run): checkpoints may be gone.
# A figure is a module of equidyn.figures, drawn from the runs of one task.
FIGURES = {
    "forces": {
        "percent": "Percent of held-out loss due to equivariance error, against training step",
        "percent_linear": "The same on linear axes, cut at 25 %",
        "losses": "Total loss, twirled error and equivariance error, with zero-predictor line and numerical floor",
        "contrast": "EScAIP, raw-direction transformer with and without augmentation, and the tied head",
    },
    "voxels": {
        "percent": "Percent of held-out loss due to equivariance error at both noise levels",
        "percent_linear": "The same on linear axes, cut at 25 %",
        "losses": "Total loss, twirled error and equivariance error, with zero-predictor line, rescaled input and numerical floor",
        "contrast": "Percent against what was learned: a constant output sits at 1, learned symmetry to the left of it",
        "slices": "One held-out molecule, clean, noisy, denoised and twirled, at an early and the last checkpoint",
        "elements": "Equivariance error of each rotation of the cube",
    },
    "flow": {
        "times": "Percent of held-out loss due to equivariance error against training step, one line per flow time (raw behind, running mean in front)",
        "times_linear": "The same on linear axes, cut at 25 %",
        "time_losses": "The three terms of the held-out loss per flow time, with zero predictor and rescaled input",
        "final_times": "Last step by flow time: percent, and how far the loss lies below that of the rescaled input",
        "chains": "Held-out chains and chains generated from the last checkpoint (Cα traces, blue to red along the chain)",
    },
}
EXTRA = {
    ("voxels", "slices"): "pictures.h5",
    ("voxels", "elements"): "pictures.h5",
    ("flow", "chains"): "samples",
}
DYNAMIC_FIGURES = {
    "gradients": (
        "gradients.csv",
        "Gradient of the equivariance error against that of the twirled error, and the percentage, over training",
    ),
    "curvature": (
        "curvature.csv",
        "Curvature of both terms over a block of parameters: largest eigenvalue and effective condition number",
    ),
    "landscape": (
        "landscape.h5",
        "Both terms along two eigenvectors: the same rotations everywhere, and fresh ones (and dropout) at every point",
    ),
    "head": (
        "head.csv",
        "Deviation of the force head from the equivariant subspace, and the equivariance error",
    ),
}
COST = "Total and twirled loss against training time; dotted: when the twirled loss passes the last total, hence what an equivariant step may cost at most"
AXIS_FIGURES = {
    "axis_size": (["model.size"], "by model size"),
    "axis_data": (["training.n_train"], "by training-set size"),
    "axis_optimizer": (
        ["training.optimizer", "training.lr"],
        "by optimizer and learning rate",
    ),
    "axis_seed": (["seed"], "of replicates"),
    "axis_augment": (["training.augment"], "by probability of augmentation"),
}
for task, runs in SHOWN_OF.items():
    FIGURES[task]["cost"] = COST
    EXTRA[task, "cost"] = "summary.json"
    dynamic = [run for run in runs if run in DYNAMIC_RUNS]
    if dynamic:
        for figure, (_, caption) in DYNAMIC_FIGURES.items():
            if figure != "head" or any(run in HEAD_RUNS for run in runs):
                FIGURES[task][figure] = caption
    varied = {
        path for run in RUNS_OF[task] if run in POINTS for path in POINTS[run]["axes"]
    }
    for figure, (paths, caption) in AXIS_FIGURES.items():
        if varied & set(paths):
            FIGURES[task][
                figure
            ] = f"Percent of held-out loss due to equivariance error {caption}; grey: the paper's runs"
DRAWN = [
    f"{task}-{figure}"
    for task, figures in FIGURES.items()
    for figure in figures
    if RUNS_OF[task]
]


rule pictures:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        grids=grids_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/pictures.h5",
    log:
        f"{LOGS}/pictures/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/pictures/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/pictures.py",
        code=run_code("pictures.py"),
    shell:
        "python {params.script} --config {input.config} --data {input.data} --grids {input.grids} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


rule samples:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        model=f"{RESULTS}/runs/{{run}}/model.pt",
    output:
        chains=directory(f"{RESULTS}/runs/{{run}}/samples"),
        table=f"{RESULTS}/runs/{{run}}/samples.csv",
    log:
        f"{LOGS}/samples/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/samples/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/samples.py",
        code=run_code("samples.py"),
    shell:
        "python {params.script} --config {input.config} --data {input.data} --model {input.model} --out {output.chains} --table {output.table} --threads {threads} > {log} 2>&1"


rule chirality:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/chirality.csv",
    log:
        f"{LOGS}/chirality/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/chirality/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/chirality.py",
        code=run_code("chirality.py"),
    shell:
        "python {params.script} --config {input.config} --data {input.data} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


rule figure:
    input:
        tables=tables_of_figure,
        extra=extra_of_figure,
        paper=PAPER,
    output:
        svg=report(
            f"{RESULTS}/figures/{{task}}-{{figure}}.svg",
            caption="../report/figure.rst",
            category="{task}",
            labels={"figure": "{figure}"},
        ),
        png=f"{RESULTS}/figures/{{task}}-{{figure}}.png",
        pdf=f"{RESULTS}/figures/{{task}}-{{figure}}.pdf",
    log:
        f"{LOGS}/figure/{{task}}-{{figure}}.log",
    benchmark:
        f"{BENCHMARKS}/figure/{{task}}-{{figure}}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/figure.py",
        code=lambda wildcards: code_digest(
            f"{SCRIPTS}/figure.py", f"equidyn.figures.{module_of(wildcards)}"
        ),
        stem=stem_of_output,
        module=module_of,
        extra=extra_arguments,
    shell:
        "python {params.script} --figure {params.module} --tables {input.tables} {params.extra} --paper {input.paper} --out {params.stem} > {log} 2>&1"
