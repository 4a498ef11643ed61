# Cost of the config before anything of it runs: `snakemake estimate --cores 1 --configfile config/paper.yaml`. Asked for by name alone; trains nothing.
localrules:
    estimate,


rule estimate:
    input:
        throughput=os.path.normpath(f"{HERE}/resources/throughput.csv"),
        table=TABLE,
    output:
        f"{RESULTS}/estimate.csv",
    log:
        f"{LOGS}/estimate.log",
    conda:
        "../../envs/torch.yaml"
    params:
        script=f"{SCRIPTS}/estimate.py",
        config=lambda wildcards: json.dumps(config, sort_keys=True),
        data=f"{RESULTS}/data",
        resources=lambda wildcards, input: os.path.dirname(input.table),
        made=made_datasets,  # they are counted where they exist, and are no input: nothing is made for an estimate
        code=code_digest(f"{SCRIPTS}/estimate.py"),
    shell:
        "printf %s {params.config:q} | python {params.script:q} --configfile - --resources {params.resources} --data {params.data} --out {output} 2>&1 | tee {log}"
