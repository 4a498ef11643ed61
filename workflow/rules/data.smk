# Datasets: settings resolved (of a run also those of its training alone, so that measuring otherwise trains nothing anew), structures read or generated, labelled, split, written as one HDF5 file each.
rule configure:
    output:
        f"{RESULTS}/{{kind}}/{{name}}/{{part}}.yaml",
    log:
        f"{LOGS}/configure/{{kind}}/{{name}}-{{part}}.log",
    wildcard_constraints:
        kind="runs|data",
        part="config|training",
        name="|".join([*RUNS, *DATASETS]),
    conda:
        "../../envs/workflow.yaml"
    params:
        script=f"{SCRIPTS}/configure.py",
        settings=settings_json,
        code=code_digest(f"{SCRIPTS}/configure.py"),
    shell:
        "python {params.script:q} --settings {params.settings:q} --out {output} > {log} 2>&1"


# rejected.csv and checks.json are not among the outputs: Snakemake deletes those of a failed rule, which these explain.
rule dataset:
    input:
        config=f"{RESULTS}/data/{{dataset}}/config.yaml",
        files=dataset_inputs,
    output:
        data=f"{RESULTS}/data/{{dataset}}.h5",
        split=f"{RESULTS}/data/{{dataset}}/split.csv",
        digests=f"{RESULTS}/data/{{dataset}}/split.json",
    log:
        f"{LOGS}/dataset/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/dataset/{{dataset}}.tsv"
    priority: 10  # all datasets first: a job that wants both cores would otherwise wait for the last of the short ones
    conda:
        "../../envs/data.yaml"
    threads: 2
    params:
        script=f"{SCRIPTS}/dataset.py",
        downloads=DOWNLOADS,
        code=code_digest(f"{SCRIPTS}/dataset.py"),
    shell:
        "python {params.script:q} --config {input.config} --out {output.data} --downloads {params.downloads} --code {params.code} --workers {threads} > {log} 2>&1"


rule grids:
    input:
        f"{RESULTS}/data/{{dataset}}.h5",
    output:
        f"{RESULTS}/data/{{dataset}}/grids.h5",
    log:
        f"{LOGS}/grids/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/grids/{{dataset}}.tsv"
    conda:
        "../../envs/torch.yaml"
    params:
        script=f"{SCRIPTS}/grids.py",
        code=code_digest(f"{SCRIPTS}/grids.py"),
    shell:
        "python {params.script:q} --data {input} --out {output} --code {params.code} > {log} 2>&1"
