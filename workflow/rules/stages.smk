# What the jobs that have run cost: `snakemake stages --cores 1`. Asked for by name alone; benchmark files are no inputs, so nothing is run for it.
localrules:
    stages,


rule stages:
    output:
        table=f"{RESULTS}/stages.csv",
        figures=expand(
            f"{RESULTS}/figures/stages.{{format}}", format=["svg", "png", "pdf"]
        ),
    log:
        f"{LOGS}/stages.log",
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/stages.py",
        benchmarks=BENCHMARKS,
        estimate=f"{RESULTS}/estimate.csv",
        stem=lambda wildcards, output: os.path.splitext(output.figures[0])[0],
        jobs=lambda wildcards: measured_jobs(),
        code=code_digest(f"{SCRIPTS}/stages.py"),
    shell:
        "python {params.script:q} --benchmarks {params.benchmarks} --estimate {params.estimate} --out {output.table} --stem {params.stem} > {log} 2>&1"
