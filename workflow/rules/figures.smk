# Figures are drawn from tables and, where the catalogue says so, small files of the runs: checkpoints may be gone.
rule figure:
    input:
        tables=tables_of_figure,
        extra=extra_of_figure,
        paper=PAPER,
    output:
        svg=report(
            f"{RESULTS}/figures/{{task}}-{{figure}}.svg",
            caption="../report/figure.rst",
            category="{task}",
            labels={"figure": "{figure}"},
        ),
        png=f"{RESULTS}/figures/{{task}}-{{figure}}.png",
        pdf=f"{RESULTS}/figures/{{task}}-{{figure}}.pdf",
    log:
        f"{LOGS}/figure/{{task}}-{{figure}}.log",
    benchmark:
        f"{BENCHMARKS}/figure/{{task}}-{{figure}}.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/figure.py",
        code=code_of_figure,
        stem=stem_of_output,
        module=lambda wildcards: figure_of(wildcards).module,
        asked=asked_of_figure,
        extra=extra_arguments,
    shell:
        "python {params.script:q} --figure {params.module:q} --decompositions {input.tables} {params.extra} --paper {input.paper:q} --out {params.stem} > {log} 2>&1"
