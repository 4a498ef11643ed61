# Training. The resume state lives in the undeclared <run>/resume/, because Snakemake deletes declared outputs before a restart.
rule train:
    input:
        config=f"{RESULTS}/runs/{{run}}/training.yaml",
        data=dataset_of,
    output:
        checkpoints=directory(f"{RESULTS}/runs/{{run}}/checkpoints"),
        model=f"{RESULTS}/runs/{{run}}/model.pt",
        metrics=f"{RESULTS}/runs/{{run}}/metrics.csv",
        summary=f"{RESULTS}/runs/{{run}}/summary.json",
    log:
        f"{LOGS}/train/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: processes_of
    resources:
        gpu=gpus_of_processes,
        mem_mb=requested("training", "mem_mb"),
        runtime=requested("training", "runtime"),
    params:
        python=launcher,
        threads=lambda wildcards, threads: max(1, threads // processes_of(wildcards)),
        script=f"{SCRIPTS}/train.py",
        code=run_code("train.py"),
        out=folder_of_output,
    shell:
        "{params.python} {params.script:q} --config {input.config} --data {input.data} --out {params.out} --code {params.code} --threads {params.threads} > {log} 2>&1"
