"""The table of datasets and its lock file: what they say is checked, and what changes where."""

import csv
import json
import re
import threading

import pytest
import yaml
from common import REPOSITORY
from download_server import entry

from equidyn.download import fetch, lockfile
from equidyn.download import table as catalogue
from equidyn.errors import DataError


def test_the_table_is_sound():
    table = catalogue.read_table(REPOSITORY / "resources/datasets.yaml")
    assert {row["task"] for row in table.values()} == {"forces", "voxels", "flow"}
    parts = [part for row in table.values() if "ids_file" not in row for part in catalogue.expand(row)]
    files = [catalogue.place(part, ".") for part in parts]
    assert len(set(files)) == len(files)
    lock = REPOSITORY / "resources/datasets.lock.json"
    listed = tuple(f"{name}/" for name, row in table.items() if "ids_file" in row)
    assert {name for name in lockfile.read_lock(lock) if not name.startswith(listed)} <= {
        catalogue.key(part) for part in parts
    }


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(file="../escaped"), "expected letters"),
        (dict(version="1/2"), "expected letters"),
        (dict(file="{id}", ids=["..", "1abc"]), "expected letters"),
        (dict(urls=["file:///etc/passwd"]), "expected http"),
        (dict(checksum="sha256:12"), "expected sha256"),
        (dict(size=-1), "expected a number of bytes"),
        (dict(package="cgdms"), "expected name==version"),
        (dict(package="cgdms==1.0; rm"), "expected name==version"),
        (dict(package="cgdms==1.0", urls=["https://a.example"]), "package beside urls"),
        (dict(verified=False), "false with a note"),
        (dict(colour="red"), "unknown fields"),
        (dict(ids=["1abc"], size=3), "must be null"),
        (dict(ids=["1abc"], file="{ID}"), "expected letters"),
        (dict(ids=["1abc"], urls=["https://a.example/{ID}"]), "placeholder 'ID'"),
        (dict(urls="https://a.example"), "must be lists"),
        (dict(ids=[]), "expected at least one"),
        (dict(ids=["1abc"], ids_file="a.txt"), "both ids and ids_file"),
        (dict(ids_file=3), "ids_file 3, expected text"),
        (dict(ids_file="a.txt", file="{ID}"), "expected letters"),
        (dict(ids_file="a.txt", urls=["https://a.example/{ID}"]), "placeholder 'ID'"),
        (dict(ids_file="a.txt", checksum="md5:" + "0" * 32), "must be null"),
        (dict(ids=["1abc"], quoted=dict(size=1)), "quoted absent"),
        (dict(quoted=dict(size=0)), "quoted size 0, expected a number of bytes"),
        (dict(quoted=dict(checksum="0" * 32)), "quoted checksum '0+', expected sha256"),
        (dict(quoted=dict(bytes=1)), "expected size, checksum or both"),
        (dict(quoted={}), "expected size, checksum or both"),
        (dict(quoted=None), "quoted None, expected size, checksum or both"),
        (dict(quoted=dict(size=None)), "expected size, checksum or both"),
    ],
)
def test_bad_tables(tmp_path, change, message):
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump([entry(**change)]))
    with pytest.raises(DataError, match=message):
        catalogue.read_table(path)
    path.write_text(yaml.safe_dump([entry(), entry()]))
    with pytest.raises(DataError, match="used twice"):
        catalogue.read_table(path)


def row(i):
    return {"sha256": f"{i:064x}", "size": i, "from": "x", "date": "y"}


@pytest.mark.parametrize("content", ["[]", "{", '{"set/1/data.bin": {"sha256": "short"}}', '{"a": 3}'])
def test_damaged_lock_file(tmp_path, content):
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(DataError, match="not readable as a lock file"):
        fetch.fetch(entry(), tmp_path, tmp_path / "lock.json")


def test_many_writers_of_the_lock_file(tmp_path):
    threads = [
        threading.Thread(target=lockfile.record, args=(tmp_path / "lock.json", {f"k{i}": row(i)}))
        for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lockfile.read_lock(tmp_path / "lock.json")) == 20


def test_rows_of_the_lock_file_are_written_together(tmp_path, monkeypatch):
    """All are there in the end, also after an error; a large lock file is not written once per row."""
    path, written = tmp_path / "lock.json", []
    monkeypatch.setattr(
        lockfile,
        "record",
        lambda *arguments, record=lockfile.record: written.append(len(arguments[1])) or record(*arguments),
    )
    with pytest.raises(RuntimeError), lockfile.Lock(path) as lock:
        for i in range(500):
            assert lock.add(f"k{i}", row(i)) == row(i)
        raise RuntimeError
    assert lockfile.read_lock(path) == {f"k{i}": row(i) for i in range(500)}
    assert sum(written) == 500 and len(written) < 80
    with lockfile.Lock(path) as lock:
        assert lock.add("k3", row(4)) == row(3)  # what stands, stands


def test_another_process_records_another_file_meanwhile(tmp_path):
    path = tmp_path / "lock.json"
    with (
        pytest.raises(
            DataError, match=f"lock.json: k: sha256 {2:064x}, expected {1:064x}, which another process"
        ),
        lockfile.Lock(path) as lock,
    ):
        lockfile.record(path, {"k": row(1)})
        lock.add("k", row(2))
    assert lockfile.read_lock(path) == {"k": row(1)}


def test_many_thousand_rows_are_written_few_times(tmp_path, monkeypatch):
    """The whole file is written anew each time: one by one would be many minutes."""
    written, record = [], lockfile.record
    monkeypatch.setattr(lockfile, "record", lambda *given: written.append(given) or record(*given))
    with lockfile.Lock(tmp_path / "lock.json") as lock:
        for i in range(10_000):
            lock.add(f"k{i}", row(i))
    assert len(lockfile.read_lock(tmp_path / "lock.json")) == 10_000 and len(written) < 120


def test_a_list_that_the_lock_file_contradicts(tmp_path):
    lock, listed = tmp_path / "lock.json", tmp_path / "set.json"
    assert lockfile.contradicted(lock, listed) == []
    listed.write_text(
        json.dumps(
            [
                {"file": f"downloads/set/1/{name}", "size": 1, "sha256": f"{i:064x}"}
                for i, name in enumerate("abc")
            ]
        )
    )
    lockfile.record(lock, {"set/1/a": row(0), "set/1/b": row(7), "other/1/c": row(8)})
    assert lockfile.contradicted(lock, listed) == ["set/1/b"]
    listed.write_text("[3]")
    assert lockfile.contradicted(lock, listed) == []


def test_digest_changes_with_what_decides(tmp_path):
    path, ids = tmp_path / "table.yaml", tmp_path / "ids.txt"

    def digest(**change):
        path.write_text(
            yaml.safe_dump(
                [
                    entry(file="{id}", ids_file="ids.txt", urls=["https://a.example/{id}"]) | change,
                    entry(name="other", purpose=str(change)),
                ]
            )
        )
        return catalogue.digest(path, "set")

    absent = digest()
    ids.write_text("1abc\n2abc\n")
    first = digest()
    same = [
        digest(purpose="words"),
        digest(licence="other", page="https://b.example", verified=False, note="n"),
    ]
    ids.write_text("1abc  # a comment\n\n2abc\n")
    assert [*same, digest()] == [first] * 3
    other = [digest(urls=["https://b.example/{id}"]), digest(version="2"), digest(file="{id}.gz")]
    ids.write_text("1abc\n3abc\n")
    assert len({absent, first, *other, digest()}) == 6
    path.write_text(yaml.safe_dump([entry()]))
    known = catalogue.digest(path, "set")
    for change in (dict(size=3), dict(checksum="md5:" + "0" * 32), dict(quoted=dict(size=3))):
        path.write_text(yaml.safe_dump([entry(**change)]))
        assert catalogue.digest(path, "set") != known


def test_ids_from_a_file_beside_the_table(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/ids.txt").write_text("# made by a query\n1abc\n\n  2abd # two\n")
    (tmp_path / "table.yaml").write_text(
        yaml.safe_dump(
            [entry(file="{id}.bin", urls=["https://a.example/{middle}/{id}"], ids_file="lists/ids.txt")]
        )
    )
    one = catalogue.read_table(tmp_path / "table.yaml")["set"]
    assert [(part["file"], part["urls"]) for part in catalogue.expand(one)] == [
        ("1abc.bin", ["https://a.example/ab/1abc"]),
        ("2abd.bin", ["https://a.example/ab/2abd"]),
    ]
    with pytest.raises(DataError, match="1abc.bin"):
        fetch.fetch_all(one, tmp_path, tmp_path / "lock.json", offline=True)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "ids.txt: no list of ids .*No such file.*expected a text file with one id per line"),
        (b"\xff\xfe", "ids.txt: no list of ids"),
        (b"# nothing\n", "ids.txt: no id in it"),
        (b"1abc\n../../x\n", "ids.txt: line 2: '../../x', expected"),
        (b"1abc\n\n1abc\n", "ids.txt: line 3: '1abc' for the second time"),
    ],
)
def test_bad_lists_of_ids(tmp_path, content, message):
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    (tmp_path / "table.yaml").write_text(yaml.safe_dump([entry(file="{id}", ids_file="ids.txt")]))
    one = catalogue.read_table(tmp_path / "table.yaml")[
        "set"
    ]  # the other entries of the table are of use without it
    with pytest.raises(DataError, match=message):
        fetch.fetch_all(one, tmp_path, tmp_path / "lock.json")


def test_the_query_asks_for_what_the_paper_config_reads():
    query = json.loads((REPOSITORY / "resources/pdb/query.json").read_text())
    assert "NOT CONFIRMED" in " ".join(query["about"])
    asked = {
        node["parameters"]["attribute"]: node["parameters"]["value"]
        for node in query["body"]["query"]["nodes"]
    }
    limits = yaml.safe_load((REPOSITORY / "config/paper.yaml").read_text())["datasets"]["pdb"]
    length = asked["entity_poly.rcsb_sample_sequence_length"]
    assert (length["from"], length["to"]) == (limits["min_residues"], limits["max_residues"]) and asked[
        "rcsb_entry_info.resolution_combined"
    ] == limits["max_resolution"]
    assert (
        asked["exptl.method"] == ["X-RAY DIFFRACTION", "ELECTRON MICROSCOPY"]
        and asked["entity_poly.rcsb_entity_polymer_type"] == "Protein"
    )


def test_numbers_in_the_purpose_of_the_small_list():
    small = catalogue.read_table(REPOSITORY / "resources/datasets.yaml")["pdb_small"]
    entries, benchmark, others = map(
        int, re.search(r"(\d+) entries.*\((\d+) \+ (\d+)\)", small["purpose"]).groups()
    )
    assert entries == len(small["ids"])
    index = REPOSITORY.parent / "shared/data/proteins/index.csv"
    if not index.exists():
        pytest.skip("the chains are counted where the files are")
    counted = [r["file"] for r in csv.DictReader(index.open()) if 50 <= int(r["residues_with_N_CA_C"]) <= 256]
    assert [sum("_u." in name for name in counted), sum("_u." not in name for name in counted)] == [
        benchmark,
        others,
    ]
