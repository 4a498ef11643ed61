# Datasets of the paper: `snakemake --cores 1 downloads/qm9.json`, by a name in resources/datasets.yaml; datasets with the key `download` ask for them.
# The list of checked files is the output, not the files: Snakemake deletes outputs before a job, and these are large, resumable or put there by hand.
# They are checked again when their own entry of the table changes, or when the lock file no longer admits what is listed (by wildcards: Snakemake does not
# compare params that are functions of the output).
from equidyn.download import lockfile, table


rule download:
    output:
        f"{DOWNLOADS}/{{entry}}.json",
    log:
        f"{LOGS}/download/{{entry}}.log",
    conda:
        "../../envs/data.yaml"
    params:
        script=f"{SCRIPTS}/download.py",
        table=TABLE,
        lock=LOCK,
        folder=folder_of_output,
        offline="--offline" if config.get("offline") else "",
        through=" ".join(
            f"--{key} {shlex.quote(config[key])}"
            for key in ("mirror", "proxy")
            if key in config
        ),
        entry=lambda wildcards: table.digest(TABLE, wildcards.entry),
        contradicted=lambda wildcards: lockfile.contradicted(
            LOCK, f"{DOWNLOADS}/{wildcards.entry}.json"
        ),
        code=code_digest(f"{SCRIPTS}/download.py"),
    shell:
        "python {params.script:q} --table {params.table:q} --name {wildcards.entry} --folder {params.folder} --lock {params.lock:q} --out {output} --workers 4 {params.offline} {params.through} > {log} 2>&1"
