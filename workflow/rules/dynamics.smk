# Training dynamics of the runs that declare a `dynamics` section: gradients at every checkpoint, curvature and landscape at three (the first that counts, the dip, the last), the linear head.
rule gradients:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        grids=grids_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/gradients.csv",
    log:
        f"{LOGS}/gradients/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/gradients/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/gradients.py",
        code=run_code("gradients.py"),
        grids=lambda wildcards, input: f"--grids {input.grids}" if input.grids else "",
    shell:
        "python {params.script:q} --config {input.config} --data {input.data} {params.grids} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"


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
        grids=lambda wildcards, input: f"--grids {input.grids}" if input.grids else "",
    shell:
        "python {params.script:q} --config {input.config} --data {input.data} {params.grids} --checkpoints {input.checkpoints} --decomposition {input.decomposition} --out {output.table} --landscape {output.landscape} --threads {threads} > {log} 2>&1"


rule force_head:
    input:
        config=f"{RESULTS}/runs/{{run}}/config.yaml",
        data=dataset_of,
        checkpoints=f"{RESULTS}/runs/{{run}}/checkpoints",
    output:
        f"{RESULTS}/runs/{{run}}/head.csv",
    log:
        f"{LOGS}/force_head/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/force_head/{{run}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        script=f"{SCRIPTS}/force_head.py",
        code=run_code("force_head.py"),
    shell:
        "python {params.script:q} --config {input.config} --data {input.data} --checkpoints {input.checkpoints} --out {output} --threads {threads} > {log} 2>&1"
