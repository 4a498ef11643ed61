"""The report page in a headless browser, wide and narrow: nothing overflows, every image loads, every link
leads somewhere, and folded tables open.

Skipped where there is no chromium, but not where ``CI`` is set.
"""

import html
import json
import os
import re
import shutil
import subprocess

import pytest
from common import REPOSITORY

from equidyn.errors import DataError
from equidyn.steps.report import report_of_folder

DOCS = REPOSITORY / "docs/results"
RUNS = ("forces", "forces-aligned", "forces-raw", "forces-raw-aug", "forces-control", "voxels-0.445", "flow")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# A page that shows the report in a frame and writes what it finds into itself.
PROBE = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe id="page" src="report.html" style="width:WIDTHpx;height:800px;border:0"></iframe>
<script>
document.getElementById("page").onload = () => {
  const page = document.getElementById("page").contentDocument
  const over = () => page.documentElement.scrollWidth - page.documentElement.clientWidth
  const links = [...page.querySelectorAll("a")].map(a => a.getAttribute("href"))
  const closed = over(), folded = [...page.querySelectorAll("details:not([open])")]
  const heights = folded.map(d => {
    const before = d.scrollHeight
    d.open = true
    return d.scrollHeight - before
  })
  document.getElementById("found").textContent = JSON.stringify({
    closed, open: over(), heights,
    images: [...page.images].map(i => i.naturalWidth),
    lost: links.filter(h => h.startsWith("#") && !page.getElementById(h.slice(1))),
    files: [...new Set(links.filter(h => !h.startsWith("#")))],
    cards: [...page.querySelectorAll(".cards > section")].map(s => s.getBoundingClientRect().bottom),
  })
}
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished folder, of the published tables and figures of the default config."""
    results = tmp_path_factory.mktemp("results")
    shutil.copy(DOCS / "claims.csv", results)
    for run in RUNS:
        (results / "runs" / run).mkdir(parents=True)
        shutil.copy(DOCS / f"{run}.csv", results / "runs" / run / "decomposition.csv")
        summary = dict(run=run, parameters=1, seconds=1.0, steps=1)
        (results / "runs" / run / "summary.json").write_text(json.dumps(summary))
    shutil.copy(DOCS / "flow-samples.csv", results / "runs/flow/samples.csv")
    shutil.copy(DOCS / "flow-chirality.csv", results / "runs/flow/chirality.csv")
    (results / "figures").mkdir()
    for image in DOCS.glob("*.png"):
        shutil.copy(image, results / "figures")
    report_of_folder(results, paper=REPOSITORY / "resources/paper_milestones.csv")
    return results


def test_runs_that_the_claims_do_not_know_are_refused(folder, tmp_path):
    """Folders of runs that were taken out of a config stay."""
    results = shutil.copytree(folder, tmp_path / "results")
    shutil.copytree(results / "runs/flow", results / "runs/of-last-week")
    with pytest.raises(DataError, match="claims.csv: made from .* rows .*of-last-week.* expected as many"):
        report_of_folder(results)


def seen(folder, width: int) -> dict:
    """What the browser finds on the page in a frame of that many pixels."""
    if BROWSER is None:
        assert not os.environ.get("CI"), "no chromium, expected one where CI is set"
        pytest.skip("no chromium")
    (folder / f"probe-{width}.html").write_text(PROBE.replace("WIDTH", str(width)))
    command = [BROWSER, *QUIET, "--allow-file-access-from-files", "--virtual-time-budget=20000"]
    command += [
        f"--user-data-dir={folder}/profile-{width}",
        "--dump-dom",
        f"file://{folder}/probe-{width}.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("width", [1000, 400])
def test_the_page_fits_and_everything_on_it_works(folder, width):
    found = seen(folder, width)
    assert found["closed"] <= 0 and found["open"] <= 0
    assert len(found["images"]) >= 5 and min(found["images"]) > 100
    assert found["lost"] == [] and found["files"]
    assert all((folder / name).is_file() for name in found["files"])
    assert found["heights"] and min(found["heights"]) > 20  # folded tables open


def test_the_first_screen_answers_for_every_task(folder):
    """On a page 1,000 pixels wide the three answers with their pictures end within one screen."""
    found = seen(folder, 1000)
    assert len(found["cards"]) == 3 and max(found["cards"]) < 900


def test_a_page_that_overflows_is_seen(folder):
    """The probe itself: a table without room to scroll is wider than the page."""
    page = (folder / "report.html").read_text()
    broken = folder / "broken"
    broken.mkdir()
    wide = page.replace("</h1>", '</h1><div style="width:3000px">x</div><a href="#nowhere">y</a>', 1)
    (broken / "report.html").write_text(wide)
    found = seen(broken, 1000)
    assert found["closed"] > 1000 and found["lost"] == ["#nowhere"]
