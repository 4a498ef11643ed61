# Figures are drawn from tables alone: checkpoints may be gone.
FIGURES = {
    "percent": "Percent of held-out loss due to equivariance error, against training step",
    "losses": "Total loss, twirled error and equivariance error, with zero-predictor line and numerical floor",
    "contrast": "EScAIP, raw-direction transformer with and without augmentation, and the tied head",
}


rule figure:
    input:
        tables=expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=RUNS),
        paper=PAPER,
    output:
        svg=report(
            f"{RESULTS}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Forces",
            labels={"figure": "{figure}"},
        ),
        png=f"{RESULTS}/figures/{{figure}}.png",
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{LOGS}/figure/{{figure}}.log",
    benchmark:
        f"{BENCHMARKS}/figure/{{figure}}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/figure.py",
        code=lambda wildcards: code_digest(
            f"{SCRIPTS}/figure.py", f"equidyn.figures.{wildcards.figure}"
        ),
        stem=stem_of_output,
    shell:
        "python {params.script} --figure {wildcards.figure} --tables {input.tables} --paper {input.paper} --out {params.stem} > {log} 2>&1"
