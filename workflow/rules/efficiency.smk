# Agnostic against equivariant networks: what their steps cost, measured side by side, and the table of the comparisons.
rule timing:
    input:
        configs=timed(f"{RESULTS}/runs/{{run}}/config.yaml"),
        data=timed(f"{RESULTS}/data/{{dataset}}.h5"),
        grids=lambda wildcards: (
            timed(f"{RESULTS}/data/{{dataset}}/grids.h5")(wildcards)
            if TASKS[wildcards.task].grids
            else []
        ),
        trained=timed(f"{RESULTS}/runs/{{run}}/model.pt"),  # last, when no job is left to share the machine with
    output:
        f"{RESULTS}/timing-{{task}}.csv",
    log:
        f"{LOGS}/timing-{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/timing-{{task}}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: workflow.resource_settings.cores or 1  # alone on the machine; torch has one
    params:
        script=f"{SCRIPTS}/timing.py",
        code=code_digest(f"{SCRIPTS}/timing.py"),
        grids=lambda wildcards, input: f"--grids {input.grids}" if input.grids else "",
    shell:
        "python {params.script:q} --configs {input.configs} --data {input.data} {params.grids} --out {output} > {log} 2>&1"


rule efficiency:
    input:
        tables=expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=RUNS),
        timing=expand(f"{RESULTS}/timing-{{task}}.csv", task=COMPARED),
    output:
        f"{RESULTS}/efficiency.csv",
    log:
        f"{LOGS}/efficiency.log",
    benchmark:
        f"{BENCHMARKS}/efficiency.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/efficiency.py",
        code=code_digest(f"{SCRIPTS}/efficiency.py"),
        points=json.dumps(POINTS),
        comparisons=json.dumps(COMPARISONS),
    shell:
        "python {params.script:q} --decompositions {input.tables} --timing {input.timing} --comparisons {params.comparisons:q} --points {params.points:q} --out {output} > {log} 2>&1"
