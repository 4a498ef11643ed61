"""``equidyn measure``: exit codes, outputs, going on after a stop."""

import csv
import json
from pathlib import Path

import ase.io
import pytest
from probe.stand_ins import frames

from equidyn import cli
from equidyn.probe import identity
from equidyn.probe.progress import Progress, duration

CALCULATOR = f"{Path(__file__).with_name('my_calc.py')}:make"
LABELS = ("--forces-key", "REF_forces")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("structures") / "test.extxyz"
    ase.io.write(path, frames(18))
    return str(path)


def run(*arguments, command: str = "measure") -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, *map(str, arguments)])
    return ended.value.code


def rows(folder):
    return {row["quantity"]: row for row in csv.DictReader(open(folder / "decomposition.csv"))}


def test_a_file_and_a_function_give_a_folder(file, tmp_path, capsys):
    out = tmp_path / "mine"
    arguments = ("--calculator", CALCULATOR, "--structures", file, *LABELS, "--out", out, "--rotations", 4)
    assert run(*arguments) == 0
    made = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert made == {
        "decomposition.csv", "per_item.csv", "summary.json", "report.html", "equivariance.png",
        "worst.extxyz", "items.jsonl", "parts.csv",
    }  # fmt: skip
    shown = capsys.readouterr().out
    assert "make: 18 of 18 structures, 4 orientations each" in shown and "forces: above 2 %" in shown
    summary = json.loads((out / "summary.json").read_text())
    assert summary["seed"] == 0 and summary["versions"]["ase"] and summary["calculator"] == CALCULATOR
    assert summary["rows"][1]["percent"] == float(rows(out)["forces"]["percent"])
    page = (out / "report.html").read_text()
    assert "data:image/png" in page and rows(out)["forces"]["verdict"] in page
    worst = ase.io.read(out / "worst.extxyz")
    assert worst.info["quantity"] == "forces" and worst.info["rms_deviation"] > 0


def test_the_command_and_the_library_agree_to_the_last_digit(file, tmp_path):
    from probe.stand_ins import Springs, stretched

    import equidyn

    run("--calculator", CALCULATOR, "--structures", file, *LABELS, "--out", tmp_path, "--seed", 5)
    found = equidyn.measure_calculator(Springs(stretched), file, forces_key="REF_forces", seed=5)["forces"]
    for name in ("total", "equivariance", "percent_lo", "floor", "baseline_ratio_hi"):
        assert float(rows(tmp_path)["forces"][name]) == getattr(found, name)


def test_exit_codes_for_the_tests_of_a_model(file, tmp_path):
    asked = ("--structures", file, *LABELS, "--quantities", "forces", "--rotations", 4)
    broken = ("--calculator", CALCULATOR, *asked)
    assert run(*broken, "--fail-above", "2%", "--out", tmp_path / "a") == 1
    assert run(*broken, "--fail-above", "30", "--out", tmp_path / "b") == 0
    exact = ("--calculator", CALCULATOR, "--kwargs", '{"stretch": false}', *asked)
    assert run(*exact, "--fail-above", "0.1%", "--out", tmp_path / "c") == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "expected a model"),
        (("--calculator", "no_such_package.calc:make"), "no module 'no_such_package'"),
        (("--calculator", "no_such_file.py:make"), "no file no_such_file.py"),
        (("--calculator", "make"), "expected package.module:name or file.py:name"),
        (("--calculator", CALCULATOR.replace(":make", ":mke")), "no 'mke' there, expected one of"),
        (("--calculator", CALCULATOR.replace(":make", ":NOT_A_CALCULATOR")), "int, expected an ASE"),
        (("--calculator", CALCULATOR, "--kwargs", "{"), "expected JSON"),
        (("--calculator", CALCULATOR, "--kwargs", '{"size": 3}'), "unexpected keyword argument 'size'"),
        (("--calculator", CALCULATOR, "--energy-key", "E"), "no structure has energy under the key 'E'"),
        (("--calculator", CALCULATOR, "--rotations", "1"), "rotations: 1, expected at least 2"),
        (("--calculator", CALCULATOR, "--fail-above", "2%"), "needs reference labels"),
        (("--calculator", CALCULATOR, *LABELS, "--fail-above", "two"), "expected a percentage such as 2%"),
        (("--calculator", CALCULATOR, "--quantities", "force"), "quantities: force, expected some of"),
    ],
)
def test_bad_input_is_one_paragraph_and_exit_code_2(file, tmp_path, capsys, arguments, message):
    assert run("--structures", file, "--out", tmp_path, *arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown and "Traceback" not in shown


@pytest.mark.parametrize("text, message", [(None, "no such file"), ("3\nno frame", "ase cannot read it")])
def test_structures_that_cannot_be_read(tmp_path, capsys, text, message):
    path = tmp_path / "broken.xyz"
    if text:
        path.write_text(text)
    assert run("--calculator", CALCULATOR, "--structures", path, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_a_tolerance_that_is_no_percentage_is_called_so(file, tmp_path, capsys):
    asked = ("--calculator", CALCULATOR, "--structures", file, *LABELS, "--out", tmp_path)
    assert run(*asked, "--tolerance", "abc", command="twirl") == 2
    assert "--tolerance 'abc': expected a percentage" in capsys.readouterr().err


def test_a_stopped_run_goes_on_and_ends_in_the_same_numbers(file, tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    asked = ("--structures", file, *LABELS, "--rotations", 4)
    stopping = CALCULATOR.replace(":make", ":stop_after")
    options = ("--calculator", stopping, *asked, "--kwargs")
    run(*options, '{"calls": 1000000}', "--out", whole)
    with pytest.raises(KeyboardInterrupt):
        cli.main(["measure", *map(str, options), '{"calls": 60}', "--out", str(cut)])
    kept = cut / "items.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    assert 5 < len(lines) < 18
    text = "".join(lines).replace('"calls": 60', '"calls": 1000000')
    kept.write_text(text + '{"index": 17, "formu')  # torn by a power cut
    capsys.readouterr()
    run(*options, '{"calls": 1000000}', "--out", cut)
    assert f"{len(lines) - 1} of them done before" in capsys.readouterr().out
    one, two = rows(whole)["forces"], rows(cut)["forces"]
    assert {k: v for k, v in one.items() if k != "seconds"} == {
        k: v for k, v in two.items() if k != "seconds"
    }


def test_a_folder_of_another_command_is_refused(file, tmp_path, capsys):
    asked = ("--calculator", CALCULATOR, "--structures", file, "--out", tmp_path, "--rotations")
    assert run(*asked, 2) == 0 and run(*asked, 3) == 2
    assert "records of another command (rotations: 2, now 3)" in capsys.readouterr().err


def test_ten_thousand_structures_with_a_limit(tmp_path, capsys):
    path = tmp_path / "many.xyz"
    frame = "3\n\nO 0 0 0.12\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n"
    path.write_text(frame * 10_000)
    arguments = ("--calculator", CALCULATOR, "--structures", path, "--out", tmp_path / "o")
    assert run(*arguments, "--limit", 25, "--rotations", 2) == 0
    assert "25 of 10000 structures" in capsys.readouterr().out
    picked = sorted({int(row["index"]) for row in csv.DictReader(open(tmp_path / "o/per_item.csv"))})
    assert len(picked) == 25 and picked[0] > 25 and picked[-1] > 5_000


def test_progress_says_rate_and_remaining_time():
    class Terminal(list):
        write = list.append
        isatty = staticmethod(lambda: True)
        flush = staticmethod(lambda: None)

    clock, shown = iter([0.0, 10.0, 10.1, 20.0]), Terminal()
    progress = Progress(shown, lambda: next(clock))
    progress(5, 20, 0)  # four were there before
    progress(6, 20, 8)
    progress(20, 20, 160)
    assert "5/20 structures" in shown[0] and "/s" not in shown[0]
    assert len(shown) == 2 and shown[-1].startswith("\r20/20 structures, 8 evaluations/s, 0 s left")
    assert duration(30) == "30 s"


def test_weights_that_were_written_anew_are_another_model(file, tmp_path, capsys):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "w.txt").write_text("0.3")
    options = (
        "--calculator",
        CALCULATOR.replace(":make", ":of_file"),
        "--structures",
        file,
        "--rotations",
        2,
    )
    kwargs = ("--kwargs", json.dumps({"path": str(weights / "w.txt")}))
    assert run(*options, *kwargs, "--out", tmp_path / "out") == 0
    (weights / "w.txt").write_text("0")
    assert run(*options, *kwargs, "--out", tmp_path / "out") == 2
    assert "records of another command (files: " in capsys.readouterr().err
    assert run(*options, *kwargs, "--out", tmp_path / "other") == 0


@pytest.mark.parametrize("form", ["{0}:Mine", "{0}.py:Mine"])
@pytest.mark.parametrize("changed", ["{0}.py", "{0}_lib.py", "weights.txt"])
def test_a_model_that_was_changed_is_another_one(tmp_path, monkeypatch, capsys, form, changed):
    """By its code, that of its neighbours, or a file that it opens: in either form of the name."""
    name = f"mine_{'file' if '.py' in form else 'module'}_{changed.strip('{}0.').replace('.', '')}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    ase.io.write("test.extxyz", frames(4))
    (tmp_path / "weights.txt").write_text("0.3")
    (tmp_path / f"{name}_lib.py").write_text("from probe.my_calc import of_file\n")
    (tmp_path / f"{name}.py").write_text(
        f"from {name}_lib import of_file\nMine = lambda: of_file('weights.txt')\n"
    )
    asked = ("--calculator", form.format(name), "--structures", "test.extxyz", "--rotations", 2, "--out", "o")
    assert run(*asked) == 0 and run(*asked) == 0 and "4 of them done before" in capsys.readouterr().out
    with open(changed.format(name), "a") as file:
        file.write("\n")
    assert run(*asked) == 2
    shown = capsys.readouterr().err
    assert "records of another command" in shown and changed.format(name).removesuffix(".py") in shown


def test_what_was_written_or_only_read_by_packages_is_no_weight(tmp_path):
    (tmp_path / "w.txt").write_text("1")
    with identity.opened() as found:
        open(tmp_path / "w.txt").close()
        with open(tmp_path / "log.txt", "w") as file:
            file.write("read again")
        open(tmp_path / "log.txt").close()
        open(pytest.__file__).close()
    assert list(found) == [str(tmp_path / "w.txt")]


def test_files_that_cannot_be_read_and_links_into_packages_are_no_weights(tmp_path, monkeypatch):
    (tmp_path / "gone.txt").write_text("1")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "cache.txt").write_text("1")
    (tmp_path / "site-packages/data.txt").symlink_to(tmp_path / "cache.txt")
    with identity.opened() as found:
        for name in ("gone.txt", "site-packages/data.txt"):
            open(tmp_path / name).close()
        monkeypatch.setattr(identity, "digest", lambda path: open(tmp_path / "none"))
    assert found == {}


def test_a_command_that_failed_before_its_first_record_may_be_mended(file, tmp_path, capsys):
    asked = ("--calculator", CALCULATOR, "--structures", file, "--rotations", 2, "--out", tmp_path)
    assert run(*asked, "--forces-key", "forces") == 2
    assert "no structure has forces under the key 'forces'" in capsys.readouterr().err
    assert run(*asked, *LABELS) == 0


def test_so_may_one_whose_records_all_failed(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SHORT_OF_MEMORY", "1")
    asked = ("--structures", file, "--rotations", 2, "--limit", 1, "--out", tmp_path, "--calculator")
    assert run(*asked, CALCULATOR.replace(":make", ":failing")) == 2
    assert len((tmp_path / "items.jsonl").read_text().splitlines()) == 2
    assert run(*asked, CALCULATOR) == 0


def test_files_of_a_folder_count_too(tmp_path):
    (tmp_path / "run/deep").mkdir(parents=True)
    (tmp_path / "run/deep/w.pt").write_text("1")
    given = {"run": str(tmp_path / "run"), "options": [{"size": "small"}, 3]}
    before = identity.named_files(given, tmp_path)
    (tmp_path / "run/deep/w.pt").write_text("2")
    assert set(before) == {str(tmp_path / "run")} and identity.named_files(given, tmp_path) != before


def test_what_failed_is_tried_again(file, tmp_path, capsys, monkeypatch):
    options = ("--calculator", CALCULATOR.replace(":make", ":failing"), "--structures", file, *LABELS)
    options = (*options, "--rotations", 2, "--out", tmp_path)
    monkeypatch.setenv("SHORT_OF_MEMORY", "1")
    assert run(*options) == 0 and "structures left out" in capsys.readouterr().out
    _, *lines = (tmp_path / "items.jsonl").read_text().splitlines()
    failed = sum(bool(json.loads(line)["failed"]) for line in lines)
    monkeypatch.delenv("SHORT_OF_MEMORY")
    assert 0 < failed < 18 and run(*options) == 0
    shown = capsys.readouterr().out
    assert f"{18 - failed} of them done before" in shown and "structures left out" not in shown
    assert run(*options) == 0 and "18 of them done before" in capsys.readouterr().out


def test_arguments_that_are_no_files_are_none(tmp_path, monkeypatch):
    """Nor are folders that the command itself writes to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    given = {"directory": ".", "note": "", "long": 300 * "x", "n": 3, "out": str(tmp_path / "mine")}
    assert identity.named_files(given, tmp_path / "mine/out") == {}
