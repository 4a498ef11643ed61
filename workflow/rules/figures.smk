# Figures are drawn from tables and, where the catalogue says so, small files of the runs: checkpoints may be gone.
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
        "python {params.script:q} --config {input.config} --data {input.data} --grids {input.grids} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


rule accuracy:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        grids=grids_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/accuracy.csv",
    log:
        f"{LOGS}/accuracy/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/accuracy/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/accuracy.py",
        code=run_code("accuracy.py"),
        grids=lambda wildcards, input: f"--grids {input.grids}" if input.grids else "",
    shell:
        "python {params.script:q} --config {input.config} --data {input.data} {params.grids} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


rule molecule:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/molecule.csv",
    log:
        f"{LOGS}/molecule/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/molecule/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/molecule.py",
        code=run_code("molecule.py"),
    shell:
        "python {params.script:q} --config {input.config} --data {input.data} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


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
        "python {params.script:q} --config {input.config} --data {input.data} --model {input.model} --out {output.chains} --table {output.table} --threads {threads} > {log} 2>&1"


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
        "python {params.script:q} --config {input.config} --data {input.data} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


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
        code=code_of_figure,
        stem=stem_of_output,
        module=lambda wildcards: figure_of(wildcards).module,
        asked=asked_of_figure,
        extra=extra_arguments,
    shell:
        "python {params.script:q} --figure {params.module:q} --decompositions {input.tables} {params.extra} --paper {input.paper:q} --out {params.stem} > {log} 2>&1"
