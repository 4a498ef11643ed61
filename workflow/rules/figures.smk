# Figures are drawn from tables and, where the catalogue says so, small files of the runs: checkpoints may be gone.
from equidyn.figures.catalogue import figures_of


def figures_of_task(task):
    """The figures of a task that has runs, by name."""
    shown = SHOWN_OF[task]
    varied = {
        key for run in RUNS_OF[task] if run in POINTS for key in POINTS[run]["axes"]
    }
    dynamic, head = (
        any(run in runs for run in shown) for runs in (DYNAMIC_RUNS, HEAD_RUNS)
    )
    return figures_of(task, dynamic, head, varied)


FIGURES = {task: figures_of_task(task) for task, runs in RUNS_OF.items() if runs}
DRAWN = [f"{task}-{name}" for task, figures in FIGURES.items() for name in figures]


def figure_of(wildcards):
    return FIGURES[wildcards.task][wildcards.figure]


def tables_of_figure(wildcards):
    """Tables of the runs that a figure shows: of an axis all of the matrix."""
    runs = RUNS_OF if figure_of(wildcards).axes else SHOWN_OF
    return expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=runs[wildcards.task])


def extra_of_figure(wildcards):
    """Files that a figure needs beside the tables, of the runs that have them."""
    figure = figure_of(wildcards)
    if figure.extra is None:
        return []
    runs = (RUNS_OF if figure.axes else SHOWN_OF)[wildcards.task]
    makers = {
        "gradients.csv": DYNAMIC_RUNS,
        "curvature.csv": DYNAMIC_RUNS,
        "landscape.h5": DYNAMIC_RUNS,
        "head.csv": HEAD_RUNS,
    }
    made = [run for run in runs if run in makers.get(figure.extra, RUNS)]
    return [f"{RESULTS}/runs/{run}/{figure.extra}" for run in made]


def extra_arguments(wildcards, input):
    figure = figure_of(wildcards)
    if figure.axes:
        asked = {"axes": list(figure.axes), "points": POINTS}
        return f"--extra {shlex.quote(json.dumps(asked, sort_keys=True))} {input.extra}"
    return f"--extra {input.extra}" if input.extra else ""


rule voxel_fields:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        grids=grids_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/fields.h5",
    log:
        f"{LOGS}/voxel_fields/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/voxel_fields/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/voxel_fields.py",
        code=run_code("voxel_fields.py"),
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
            f"{SCRIPTS}/figure.py", f"equidyn.figures.{figure_of(wildcards).module}"
        ),
        stem=stem_of_output,
        module=lambda wildcards: figure_of(wildcards).module,
        extra=extra_arguments,
    shell:
        "python {params.script} --figure {params.module} --decompositions {input.tables} {params.extra} --paper {input.paper} --out {params.stem} > {log} 2>&1"
