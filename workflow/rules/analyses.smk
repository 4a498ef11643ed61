# What is made of a run's checkpoints beside the decomposition. One form for those that write one file:
ANALYSES = {
    "gradients": "gradients.csv",  # of runs with `dynamics`: at every checkpoint
    "force_head": "head.csv",  # the same of EScAIP's linear head
    "accuracy": "accuracy.csv",
    "chirality": "chirality.csv",
    "molecule": "molecule.csv",  # for pictures, as are fields
    "voxel_fields": "fields.h5",
}
for analysis, made in ANALYSES.items():

    rule:
        name:
            analysis
        input:
            config=f"{RESULTS}/runs/{{run}}/config.yaml",
            data=dataset_of,
            grids=grids_of,
            checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
        output:
            f"{RESULTS}/runs/{{run}}/{made}",
        log:
            f"{LOGS}/{analysis}/{{run}}.log",
        benchmark:
            f"{BENCHMARKS}/{analysis}/{{run}}.tsv"
        conda:
            "../../envs/torch.yaml"
        threads: 1
        resources:
            gpu=gpus,
        params:
            script=f"{SCRIPTS}/{analysis}.py",
            code=run_code(f"{analysis}.py"),
            grids=grids_option,
        shell:
            "python {params.script:q} --config {input.config} --data {input.data} {params.grids} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


# Curvature and landscape of runs with `dynamics` at three checkpoints: the first that counts, the dip, the last.
rule curvature:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        grids=grids_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
        decomposition=f"{RESULTS}/runs/{{run}}/decomposition.csv",
    output:
        table=f"{RESULTS}/runs/{{run}}/curvature.csv",
        landscape=f"{RESULTS}/runs/{{run}}/landscape.h5",
    log:
        f"{LOGS}/curvature/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/curvature/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/curvature.py",
        code=run_code("curvature.py"),
        grids=grids_option,
    shell:
        "python {params.script:q} --config {input.config} --data {input.data} {params.grids} --checkpoints {input.checkpoints} --decomposition {input.decomposition} --out {output.table} --landscape {output.landscape} --threads {threads} > {log} 2>&1"


# Chains that the last averaged weights of a flow run generate.
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
