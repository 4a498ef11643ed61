# The measurement: every checkpoint of a run, on the same held-out items and rotations.
rule decompose:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        grids=grids_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/decomposition.csv",
    log:
        f"{LOGS}/decompose/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/decompose/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: processes_of
    resources:
        gpu=gpus_of_processes,
        mem_mb=requested("decomposition", "mem_mb"),
        runtime=requested("decomposition", "runtime"),
    params:
        python=launcher,
        threads=lambda wildcards, threads: max(1, threads // processes_of(wildcards)),
        script=f"{SCRIPTS}/decompose.py",
        code=run_code("decompose.py"),
        grids=grids_option,
    shell:
        "{params.python} {params.script:q} --config {input.config} --data {input.data} {params.grids} --checkpoints {input.checkpoints} --out {output} --code {params.code} --threads {params.threads} > {log} 2>&1"
