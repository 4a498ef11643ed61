# Claims with verdicts computed from the tables, and one self-contained page.
rule claims:
    input:
        tables=expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=RUNS),
        more=dynamics_tables,
        times=[f"{RESULTS}/timing-{task}.csv" for task in COMPARED],
        paper=PAPER,
    output:
        report(
            f"{RESULTS}/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "claims"},
        ),
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{BENCHMARKS}/claims.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/claims.py",
        code=code_digest(f"{SCRIPTS}/claims.py"),
        points=json.dumps(POINTS),
        more=lambda wildcards, input: (
            f"--more {input.more} {input.times}" if input.more or input.times else ""
        ),
        comparisons=(
            f"--comparisons {shlex.quote(json.dumps(COMPARISONS))}"
            if COMPARISONS
            else ""
        ),
    shell:
        "python {params.script:q} --decompositions {input.tables} --paper {input.paper:q} --points {params.points:q} {params.more} {params.comparisons} --out {output} > {log} 2>&1"


rule report_page:
    input:
        claims=f"{RESULTS}/claims.csv",
        tables=expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=RUNS),
        summaries=expand(f"{RESULTS}/runs/{{run}}/summary.json", run=RUNS),
        shown=[path for path in TABLES_OF_TASKS if path.endswith(".csv")],
        linked=lambda wildcards: [
            *dynamics_tables(wildcards),
            *comparison_tables(wildcards),
        ],
        paper=PAPER,
        data=expand(f"{RESULTS}/data/{{dataset}}.h5", dataset=DATASETS),
        splits=expand(f"{RESULTS}/data/{{dataset}}/split.json", dataset=DATASETS),
        figures=expand(f"{RESULTS}/figures/{{figure}}.png", figure=DRAWN),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        "../../envs/figures.yaml"
    params:
        script=f"{SCRIPTS}/report.py",
        code=code_digest(f"{SCRIPTS}/report.py", files=["results/report.html.jinja"]),
        tasks={task: [t.title, t.picture, t.note] for task, t in TASKS.items()},
        datasets=expand(f"{RESULTS}/data/{{dataset}}", dataset=DATASETS),
        more=lambda wildcards, input: " ".join(
            f"--{name} {input[name]}" for name in ("shown", "linked") if input[name]
        ),
        extensions=f"--extensions {shlex.join(EXTENSIONS)}" if EXTENSIONS else "",
    shell:
        "python {params.script:q} --claims {input.claims} --decompositions {input.tables} --summaries {input.summaries}"
        " {params.more} {params.extensions} --datasets {params.datasets} --paper {input.paper:q} --figures {input.figures} --out {output} > {log} 2>&1"
