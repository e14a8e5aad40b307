# SPDX-License-Identifier: Apache-2.0
"""nodes/kit/objstore on S3: against a fake that misbehaves on command (tests/mock/s3.py), and against OpenStack Swift (tests/swift.py),
which verifies what we send and is not ours. BIG=1: what takes long, too, and 5 GB instead of 300 MB."""
import hashlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "mock")]
from bus import SANITIZED  # noqa: E402
from objstore_rig import Failed, Store  # noqa: E402
from s3 import ACCESS, SECRET, Handler, S3Fake  # noqa: E402
from swift import Swift  # noqa: E402

MIB = 1 << 20
PART = 5 * MIB
# Keys that signers and servers trip over; each is a lawful key of ours.
ODD_KEYS = ["~!@$*()',;:[] ü€ a b+c=d&e?f%2F", "d/..x", "d/.hidden", "a/%2F/b", "plus+and space", "percent%20twice%2520",
            "#frag?query=1", "\"quotes\" <angle> & amp", "back\\slash^`{|}", "日本/한국/🚀", "/".join(["x" * 220] * 4), "UPPER/lower",
            "trailing.", "a=b/c:d@e"]


@pytest.fixture
def s3(tmp_path):
    with S3Fake(tmp_path / "s3") as fake:
        yield fake
        assert not fake.refused_signatures


@pytest.fixture
def store(s3):
    return Store("s3://bucket/pre", s3.environment())


@pytest.fixture
def make_file(tmp_path):
    def make(size=1000, name="content", seed=b"1"):
        path = tmp_path / name
        block = hashlib.shake_256(seed).digest(min(size, MIB))
        with open(path, "wb") as file:
            for i in range(0, size, MIB):
                file.write(i.to_bytes(8, "big") + block[8:size - i] if size - i >= 8 else block[:size - i])
        return path

    return make


def held(s3, key):
    return s3.objects["pre/" + key].blob.bytes()


# ---- creating

@pytest.mark.parametrize("conditions", ["yes", "ignore", "501"])
@pytest.mark.parametrize("size", [0, 1000, 11 * MIB])
def test_a_key_is_taken_once_and_the_same_content_is_no_conflict(s3, store, make_file, conditions, size):
    s3.conditions = conditions
    file, other = make_file(size), make_file(size + 1, "other", b"2")
    first = store.start("put", "a/b.json", file, part_bytes=PART)
    first.wait()
    assert first.of("stored")[0]["already_there"] is False
    assert first.of("conditional")[0]["is"] == (conditions == "yes")
    assert store.put("a/b.json", file, part_bytes=PART)["already_there"] is True
    with pytest.raises(Failed, match="is there already with another content") as failed:
        store.put("a/b.json", other, part_bytes=PART)
    assert failed.value.name == "CONFLICT" and held(s3, "a/b.json") == file.read_bytes()
    store.put("a/b.json", other, part_bytes=PART, replace=True)
    assert held(s3, "a/b.json") == other.read_bytes()
    assert not s3.uploads and list(s3.objects) == ["pre/a/b.json"]


@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_one_server_of_several_may_know_no_conditions(s3, store, make_file, size):
    """After the probe said yes."""
    method, query = ("POST", "uploadId") if size > PART else ("PUT", None)
    s3.fault("status", status=501, code="NotImplemented", method=method, query=query, key="k$")
    file = make_file(size)
    run = store.run("put", "k", file, part_bytes=PART)
    assert held(s3, "k") == file.read_bytes() and run.of("conditional")[0]["is"] == 0 and not s3.uploads


def test_an_object_tells_what_it_is(s3, store, make_file):
    s3.versions = True
    file = make_file()
    stored = store.put("model/notes.txt", file, encryption="AES256")
    o = s3.objects["pre/model/notes.txt"]
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    assert o.headers == {"content-type": "text/plain", "x-amz-meta-sha256": sha, "x-amz-server-side-encryption": "AES256"}
    told = {"what": "stored", "already_there": False, "uri": "s3://bucket/pre/model/notes.txt"}
    assert stored == store.stat("model/notes.txt") | told
    assert (stored["size"], stored["sha256"], stored["etag"], stored["version"]) == (1000, sha, o.etag, o.version)
    store.put("typed", file, type="application/x-model")
    assert store.stat("typed")["type"] == "application/x-model"


def test_an_object_of_another_program_is_compared_by_its_etag(s3, store, make_file):
    file = make_file()
    store.put("k", file)
    del s3.objects["pre/k"].headers["x-amz-meta-sha256"]
    assert store.put("k", file)["already_there"] is True
    assert store.stat("k")["sha256"] == ""


@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_a_file_that_is_not_what_it_should_be_is_not_stored(s3, store, make_file, size, tmp_path):
    with pytest.raises(Failed) as failed:
        store.put("k", make_file(size), sha256="0" * 64, part_bytes=PART, journal=tmp_path / "journal")
    assert failed.value.name == "CORRUPT" and not s3.objects and not (tmp_path / "journal").exists()


def test_many_parts_in_any_order(s3, store, make_file):
    s3.min_part = 1
    file = make_file(23 * PART + 1)
    run = store.run("put", "k", file, part_bytes=PART, parallel=8)
    assert held(s3, "k") == file.read_bytes()
    progress = [line["bytes"] for line in run.of("progress")]
    assert progress == sorted(progress) and progress[-1] == 23 * PART + 1
    assert s3.count("PUT", "partNumber") == 24


# ---- what a store may do to us

LOST = [("PUT", None), ("POST", "uploads"), ("PUT", "partNumber"), ("POST", "uploadId"), ("HEAD", None), ("DELETE", None)]


@pytest.mark.parametrize("conditions", ["yes", "ignore"])
@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_lost_answers_and_broken_connections(s3, store, make_file, kind, conditions, tmp_path):
    s3.conditions = conditions
    for number, (method, query) in enumerate(LOST):
        s3.fault(kind, method=method, query=query, key="k$", times=2)
        file = make_file(11 * MIB if query else 1000, seed=b"%d" % number)
        stored = store.put(f"{number}k", file, part_bytes=PART, journal=tmp_path / "journal")
        assert held(s3, f"{number}k") == file.read_bytes() and not stored["already_there"]
        store.delete(f"{number}k")
    assert not s3.objects and not s3.uploads


@pytest.mark.parametrize("status, code, headers", [
    (500, "InternalError", {}), (503, "SlowDown", {"Retry-After": "0"}), (429, "TooManyRequests", {"Retry-After": "1"}),
    (400, "RequestTimeout", {}), (408, "", {}), (502, "", {}), (504, "", {}), (503, "", {}), (400, "ThrottlingException", {}),
    (409, "ConditionalRequestConflict", {})])
def test_what_may_heal_is_tried_again(s3, store, make_file, status, code, headers):
    s3.fault("status", status=status, code=code, headers=headers, method="PUT", key="k", times=3)
    store.put("k", make_file())
    assert s3.count("PUT", status=status) == 3


@pytest.mark.parametrize("status, code, name", [
    (403, "AccessDenied", "FORBIDDEN"), (400, "InvalidRequest", "BAD_VALUE"), (400, "KeyTooLongError", "BAD_VALUE"),
    (405, "MethodNotAllowed", "SYSTEM"), (413, "EntityTooLarge", "BAD_VALUE"), (403, "QuotaExceeded", "FULL"),
    (507, "XMinioStorageFull", "FULL")])
def test_what_cannot_heal_is_not_tried_again(s3, store, make_file, status, code, name):
    s3.fault("status", status=status, code=code, method="PUT", key="k", times=10)
    with pytest.raises(Failed, match=f"cannot store s3://bucket/pre/k at http://.*{status} {code}.*: on command$") as failed:
        store.put("k", make_file())
    assert failed.value.name == name and failed.value.again == (name == "FULL") and s3.count("PUT", status=status) == 1


@pytest.mark.skipif(not os.environ.get("BIG"), reason="takes half a minute: BIG=1")
def test_after_ten_tries_it_is_busy(s3, store, make_file):
    s3.fault("status", status=503, code="SlowDown", method="PUT", key="k", times=100)
    with pytest.raises(Failed) as failed:
        store.run("put", "k", make_file(), patience=150)
    assert failed.value.name == "BUSY" and failed.value.again and s3.count("PUT", status=503) == 10


def test_a_completion_that_fails_late(s3, store, make_file, tmp_path):
    s3.fault("late", code="InternalError", method="POST", query="uploadId", times=2)
    file = make_file(11 * MIB)
    store.put("k", file, part_bytes=PART)
    assert held(s3, "k") == file.read_bytes() and s3.count("POST", "uploadId") == 3
    s3.fault("late", code="InvalidPart", method="POST", query="uploadId")
    with pytest.raises(Failed) as failed:
        store.put("other", file, part_bytes=PART, journal=tmp_path / "journal")
    assert failed.value.name == "CORRUPT" and not (tmp_path / "journal").exists()


@pytest.mark.parametrize("repeats", [False, True])
def test_a_completion_whose_answer_is_lost_is_recognised(s3, store, make_file, repeats):
    s3.repeats = repeats
    s3.fault("drop", method="POST", query="uploadId")
    file = make_file(11 * MIB)
    assert store.put("k", file, part_bytes=PART)["already_there"] is False
    assert held(s3, "k") == file.read_bytes() and s3.count("POST", "uploadId") == 2 and s3.count("PUT", "partNumber") == 3


def test_a_racing_completion_begins_anew(s3, store, make_file):
    s3.fault("status", status=409, code="ConditionalRequestConflict", method="POST", query="uploadId")
    file = make_file(11 * MIB)
    store.put("k", file, part_bytes=PART)
    assert held(s3, "k") == file.read_bytes() and s3.count("PUT", "partNumber") == 6 and not s3.uploads


def test_damage_on_the_way_is_noticed_and_mended(s3, store, make_file):
    s3.fault("damage", method="PUT", key="k", times=2)
    s3.fault("damage", method="PUT", query="partNumber", key="parts")
    store.put("k", make_file())
    store.put("parts", make_file(11 * MIB), part_bytes=PART)
    assert s3.count("PUT", status=400) == 3
    s3.fault("damage", method="PUT", key="x", times=9)
    with pytest.raises(Failed) as failed:
        store.put("x", make_file())
    assert failed.value.name == "CORRUPT" and "pre/x" not in s3.objects


@pytest.mark.parametrize("clock_s", [-7200, 7200])
def test_a_clock_that_differs_is_mended_once(s3, store, make_file, clock_s):
    s3.clock_s = clock_s
    run = store.run("put", "k", make_file())
    assert sum(r.status == 403 for r in s3.requests) == 1 and "s3.clock" in run.log
    assert store.stat("k")["size"] == 1000  # HEAD: a refusal without a reason
    assert sum(r.status == 403 for r in s3.requests) == 2


def test_a_bucket_elsewhere_is_found(s3, store, make_file):
    s3.region = "eu-west-9"
    store.put("k", make_file(11 * MIB), part_bytes=PART)
    assert sum(r.status == 400 for r in s3.requests) == 1
    Store("s3://bucket", s3.environment() | {"AWS_REGION": "eu-west-9"}).stat("pre/k")
    assert sum(r.status == 400 for r in s3.requests) == 1


def test_requests_that_were_under_way_when_the_region_was_found_are_signed_anew(s3, store, make_file, monkeypatch):
    create = Handler.create_upload

    def create_and_move(handler):
        create(handler)
        handler.s3.region = "elsewhere"
    monkeypatch.setattr(Handler, "create_upload", create_and_move)
    s3.fault("stall", times=3, method="PUT", query="partNumber")
    file = make_file(3 * PART)
    run = store.start("put", "k", file, part_bytes=PART, parallel=3)
    assert all(s3.stalled.acquire(timeout=30) for _ in range(3))
    s3.release()
    run.wait()
    assert not run.of("error") and held(s3, "k") == file.read_bytes()


def test_an_absent_bucket(s3, make_file):
    store = Store("s3://absent", s3.environment())
    with pytest.raises(Failed, match="make the bucket, or let it be made with create_bucket") as failed:
        store.put("k", make_file())
    assert failed.value.name == "NOT_FOUND"
    store.put("k", make_file(), create_bucket=True)
    assert store.stat("k")["size"] == 1000 and "absent" in s3.buckets
    s3.region = "eu-west-9"
    further = Store("s3://further", s3.environment() | {"AWS_REGION": "eu-west-9"})
    further.put("x", make_file(11 * MIB), create_bucket=True, part_bytes=PART)


def test_wrong_credentials_are_said_so(s3, make_file):
    environment = s3.environment()
    with pytest.raises(Failed, match="is the secret key the one") as failed:
        Store("s3://bucket", environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}).put("k", make_file())
    assert failed.value.name == "FORBIDDEN" and s3.refused_signatures.pop()
    with pytest.raises(Failed, match="does not know this access key"):
        Store("s3://bucket", environment | {"AWS_ACCESS_KEY_ID": "wrong"}).put("k", make_file())


# ---- killed

@pytest.mark.parametrize("conditions", ["yes", "ignore"])
@pytest.mark.parametrize("lines", [2, 3, 4, 5, 6, 7])
def test_killed_in_every_state_of_the_journal_it_goes_on(s3, store, make_file, tmp_path, lines, conditions):
    """Lines: creating (2), begun (3), one part after the other (4 to 6), completing (7)."""
    s3.conditions = conditions
    file, journal = make_file(2 * PART + 77), tmp_path / "journal"
    killed = store.start("put", "k", file, part_bytes=PART, parallel=1, journal=journal, die_at=lines)
    killed.wait()
    written = journal.read_text().splitlines(keepends=True)
    assert killed.process.returncode == -9 and len(written) >= lines
    journal.write_text("".join(written[:lines]))  # it may have written two at once
    up = {n for u in s3.uploads.values() for n in u.parts}
    before = len(s3.requests)
    stored = store.put("k", file, part_bytes=PART, journal=journal)
    sent = {int(r.query["partNumber"]) for r in s3.requests[before:] if "partNumber" in r.query}
    assert held(s3, "k") == file.read_bytes() and not stored["already_there"]
    assert not sent & up and not s3.uploads and not journal.exists()
    if lines >= 4:
        assert 1 in up | ({1} if "pre/k" in s3.objects else set())


@pytest.mark.parametrize("method, query, skip", [
    ("POST", "uploads", 0), ("PUT", "partNumber", 0), ("PUT", "partNumber", 2), ("POST", "uploadId", 0), ("HEAD", None, 1)])
def test_killed_while_an_answer_is_awaited(s3, store, make_file, tmp_path, method, query, skip):
    """The store has done it; nobody was told."""
    file, journal = make_file(2 * PART + 77), tmp_path / "journal"
    s3.fault("stall", method=method, query=query, key="k$", skip=skip)
    killed = store.start("put", "k", file, part_bytes=PART, parallel=1, journal=journal)
    assert s3.stalled.acquire(timeout=30)
    killed.kill()
    s3.release()
    up = {n for u in s3.uploads.values() for n in u.parts}
    before = len(s3.requests)
    store.put("k", file, part_bytes=PART, journal=journal)
    sent = {int(r.query["partNumber"]) for r in s3.requests[before:] if "partNumber" in r.query}
    assert held(s3, "k") == file.read_bytes() and not sent & up and not s3.uploads and not journal.exists()


def begin(store, file, journal, lines=4, key="k"):
    """An upload that its process did not live to end."""
    run = store.start("put", key, file, part_bytes=PART, parallel=1, journal=journal, die_at=lines)
    run.wait()
    assert journal.exists()


def test_parts_are_listed_page_by_page(s3, store, make_file, tmp_path):
    s3.parts_page = 1
    file, journal = make_file(4 * PART), tmp_path / "journal"
    begin(store, file, journal, lines=6)
    up = {n for u in s3.uploads.values() for n in u.parts}
    store.put("k", file, part_bytes=2 * PART, journal=journal)  # the journal's parts keep their size
    assert held(s3, "k") == file.read_bytes() and s3.count("PUT", "partNumber") <= 4 + 1 and len(up) >= 3


def test_what_was_begun_in_parts_goes_on_in_parts_though_parts_are_larger_now(s3, store, make_file, tmp_path):
    file, journal = make_file(2 * PART), tmp_path / "journal"
    begin(store, file, journal)
    store.put("k", file, part_bytes=8 * PART, journal=journal)
    assert held(s3, "k") == file.read_bytes() and not journal.exists() and not s3.uploads


def test_a_journal_that_was_torn_or_is_of_another_content(s3, store, make_file, tmp_path):
    file, journal = make_file(2 * PART), tmp_path / "journal"
    begin(store, file, journal)
    with open(journal, "a") as f:
        f.write('part 99 "torn')
    store.put("k", file, part_bytes=PART, journal=journal)
    assert held(s3, "k") == file.read_bytes()
    begin(store, file, journal, key="other")
    another = make_file(3 * PART, "another", b"2")
    store.put("other", another, part_bytes=PART, journal=journal)
    assert held(s3, "other") == another.read_bytes() and not journal.exists()
    assert s3.count("DELETE", "uploadId") == 1 and not s3.uploads
    journal.write_text("rubbish\n" * 3)
    store.put("third", file, part_bytes=PART, journal=journal)
    assert held(s3, "third") == file.read_bytes()


@pytest.mark.parametrize("lines", [4, 6])
def test_an_upload_that_the_store_has_swept_away_begins_anew(s3, store, make_file, tmp_path, lines):
    file, journal = make_file(2 * PART), tmp_path / "journal"
    begin(store, file, journal, lines)
    s3.uploads.clear()
    s3.objects.clear()
    store.put("k", file, part_bytes=PART, journal=journal)
    assert held(s3, "k") == file.read_bytes() and not journal.exists()


def test_an_upload_is_swept_away_while_it_runs(s3, store, make_file):
    s3.fault("drop", method="PUT", query="partNumber", skip=1, then=s3.uploads.clear)
    file = make_file(4 * PART)
    store.put("k", file, part_bytes=PART, parallel=1)
    assert held(s3, "k") == file.read_bytes() and not s3.uploads


def test_an_abandoned_upload_is_forgotten_by_the_store(s3, store, make_file, tmp_path):
    journal = tmp_path / "journal"
    begin(store, make_file(2 * PART), journal)
    assert s3.uploads
    store.run("abandon", "k", journal)
    assert not s3.uploads and not journal.exists()


# ---- reading

def test_ranges(s3, store, make_file, tmp_path):
    file, out = make_file(MIB), tmp_path / "out"
    content = file.read_bytes()
    store.put("k", file)
    for offset, length in [(0, -1), (0, 10), (5, 10), (MIB - 3, 100), (MIB - 1, -1), (7, -1), (0, MIB), (0, MIB + 1)]:
        found, got = store.get("k", out, offset=offset, length=length)
        assert got == content[offset:offset + length if length >= 0 else None] and found["size"] == MIB
    for offset, length in [(MIB, -1), (MIB, 5), (2 * MIB, -1), (0, 0), (9, 0)]:
        found, got = store.get("k", out, offset=offset, length=length)
        assert got == b"" and found["size"] == MIB
    store.put("empty", make_file(0))
    assert store.get("empty", out)[1] == b"" and store.get("empty", out, length=5)[1] == b""


def test_a_broken_answer_goes_on_where_it_broke(s3, store, make_file, tmp_path):
    file, out = make_file(3 * MIB), tmp_path / "out"
    store.put("k", file)
    s3.fault("half", method="GET", times=12)
    assert store.get("k", out)[1] == file.read_bytes()
    gets = [r for r in s3.requests if r.method == "GET"]
    assert len(gets) > 10 and gets[1].headers["range"] == f"bytes={3 * MIB // 2}-"
    assert gets[1].headers["if-match"] == s3.objects["pre/k"].etag
    s3.fault("half", method="GET")
    assert store.get("k", out, offset=100, length=2 * MIB)[1] == file.read_bytes()[100:100 + 2 * MIB]


def test_an_object_that_changes_while_it_is_read(s3, store, make_file, tmp_path):
    store.put("k", make_file(MIB))
    store.put("new", make_file(MIB, "new", b"2"))
    s3.fault("half", method="GET", then=lambda: s3.objects.update({"pre/k": s3.objects["pre/new"]}))
    with pytest.raises(Failed, match="was replaced while it was read") as failed:
        store.get("k", tmp_path / "out")
    assert failed.value.name == "CORRUPT"


def test_an_object_that_rots_is_noticed(s3, store, make_file, tmp_path):
    store.put("k", make_file(MIB))
    with open(s3.objects["pre/k"].blob.files[0], "r+b") as file:
        file.seek(1000)
        file.write(b"rotten")
    with pytest.raises(Failed, match="is not what was stored") as failed:
        store.get("k", tmp_path / "out")
    assert failed.value.name == "CORRUPT"


@pytest.mark.parametrize("theirs, is_hash", [("q83vq83vq83vq83vq83vq83vq83vq83vq83vq83vq80=", False), ("abc", False), ("upper", True)])
def test_what_other_programs_note_as_sha256(s3, store, make_file, tmp_path, theirs, is_hash):
    file = make_file()
    hash = store.put("k", file)["sha256"]
    s3.objects["pre/k"].headers |= {"x-amz-meta-sha256": hash.upper() if is_hash else theirs, "content-type": "text/\xe4"}
    found, content = store.get("k", tmp_path / "got")
    assert content == file.read_bytes() and found["sha256"] == (hash if is_hash else "")
    assert found["type"] == "application/octet-stream"


def test_an_answer_without_a_length_is_no_empty_object(s3, store, make_file, tmp_path, monkeypatch):
    def get(handler):
        handler.close_connection = True
        handler.send_response_only(200)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(b"of unknown size")
    store.put("k", make_file())
    monkeypatch.setattr(Handler, "get", get)
    for read in (lambda: store.get("k", tmp_path / "got"), lambda: store.stat("k")):
        with pytest.raises(Failed, match="does not tell the size"):
            read()


def test_a_reader_that_pauses_gets_all_of_it(s3, store, make_file, tmp_path):
    file = make_file(8 * MIB)
    store.put("k", file)
    s3.fault("half", method="GET")
    assert store.get("k", tmp_path / "out", pause=1)[1] == file.read_bytes()


def test_what_is_not_there(s3, store, tmp_path):
    for read in (lambda: store.stat("k"), lambda: store.get("k", tmp_path / "out")):
        with pytest.raises(Failed, match="cannot read s3://bucket/pre/k") as failed:
            read()
        assert failed.value.name == "NOT_FOUND"
    store.delete("k")


# ---- listing

NAMES = sorted(["a.txt", "a/1", "a/2", "a0", "a/b/c", "a/b/d", "b/ü x+y&z", "b/<&>", "c", "d/e/f/g"], key=str.encode)


@pytest.mark.parametrize("page", [1, 2, 1000])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_listing_by_pages_and_folders(s3, store, make_file, page, most):
    for name in [*NAMES, "a/mark/"]:
        s3.objects["pre/" + name] = None
    store.put("model", make_file())
    for name in s3.objects:
        s3.objects[name] = s3.objects["pre/model"]
    del s3.objects["pre/model"]
    s3.objects["other/x"] = s3.objects["pre/c"]
    s3.list_page = page
    assert store.list_all(recursive=True, max=most) == NAMES
    assert store.list_all(max=most) == ["a.txt", "a/", "a0", "b/", "c", "d/"]
    assert store.list_all("a/", max=most) == ["a/1", "a/2", "a/b/", "a/mark/"]
    assert store.list_all("b/", max=most) == ["b/<&>", "b/ü x+y&z"]
    assert store.list_all("nothing/", max=most) == []
    assert store.list("", max=100, after="a/")[0] == ["a0", "b/", "c", "d/"]
    assert store.list("", max=100, after="b", recursive=True)[0] == ["b/<&>", "b/ü x+y&z", "c", "d/e/f/g"]


# ---- who we are

@pytest.mark.parametrize("body, words", [
    (b"<html><body>log in first</body></html>", "no list of objects"), (b"", "no XML"), (b"<a>" * 1000, "too deeply nested"),
    (b'<!DOCTYPE l [<!ENTITY a "aa">]><ListBucketResult/>', "document type"),
    (b"<ListBucketResult><Contents><Key>" + b"x" * (17 << 20), "larger than any")])
def test_an_answer_that_is_no_list(s3, store, monkeypatch, body, words):
    monkeypatch.setattr(Handler, "list", lambda handler: handler.send(200, body, Content_Type="application/xml"))
    with pytest.raises(Failed, match=words):
        store.list()


def test_credentials_come_from_where_users_put_them(s3, tmp_path):
    s3.objects.clear()
    address = {"MLFLOW_S3_ENDPOINT_URL": s3.url}
    with pytest.raises(Failed, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them to the profile") as failed:
        Store("s3://bucket", address).list()
    assert failed.value.name == "BAD_VALUE"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id=wrong\naws_secret_access_key=wrong\n\n[work]\n"
        f"aws_access_key_id = {ACCESS}\naws_secret_access_key={SECRET}\naws_session_token=tok\n")
    Store("s3://bucket", address | {"HOME": str(tmp_path), "AWS_PROFILE": "work"}).list()
    Store("s3://bucket", address | {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / ".aws/credentials"), "AWS_PROFILE": "work"}).list()
    assert [r.headers.get("x-amz-security-token") for r in s3.requests] == ["tok", "tok"]
    with pytest.raises(Failed, match="does not know this access key"):
        Store("s3://bucket", address | {"HOME": str(tmp_path)}).list()


@pytest.mark.parametrize("url, environment, words", [
    ("s3://", {}, "names no bucket"), ("s3://b", {}, "names no bucket"), ("s3://bucket/a//b", {}, "has an empty part"),
    ("s3://bucket", {"AWS_ENDPOINT_URL": "127.0.0.1:9"}, "write http://HOST:PORT"),
    ("s3://bucket", {"AWS_ENDPOINT_URL": "http://h/path"}, "without a path"),
    ("s3://bucket", {"AWS_ACCESS_KEY_ID": "x\n"}, "stray line end"), ("s3://bucket", {"AWS_REGION": "a/b"}, "is no S3 region")])
def test_what_is_malformed_is_said_before_anything_is_sent(s3, url, environment, words):
    with pytest.raises(Failed, match=words) as failed:
        Store(url, s3.environment() | environment).list()
    assert failed.value.name == "BAD_VALUE" and not s3.requests


def test_https_is_verified_and_the_content_guarded_by_its_md5(tmp_path, make_file):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True)
    with S3Fake(tmp_path / "s3", tls=tmp_path) as s3:
        store, file = Store("s3://bucket", s3.environment()), make_file(11 * MIB)
        for kind, key in (("damage", "k"), ("damage", "parts")):
            s3.fault(kind, method="PUT", key=key)
        store.put("k", file, ca_file=tmp_path / "cert.pem")
        store.put("parts", file, ca_file=tmp_path / "cert.pem", part_bytes=PART)
        assert s3.objects["parts"].blob.bytes() == file.read_bytes() and s3.count("PUT", status=400) == 2
        contents = [r.headers for r in s3.requests if r.method == "PUT" and "probe" not in r.key]
        assert all(h["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD" and h["content-md5"] for h in contents) and len(contents) == 6
        before = len(s3.requests)
        distrustful = store.start("stat", "k")
        distrustful.until_log("certificate")
        distrustful.kill()
        assert len(s3.requests) == before


# ---- Swift

@pytest.fixture(scope="module")
def swift():
    with Swift() as server:
        yield server


@pytest.fixture
def real(swift, request):
    """A bucket of the test's own, below a prefix."""
    return Store(f"s3://{re.sub('[^a-z0-9]', '-', request.node.name)[:60]}/pre fix", swift.environment())


def test_swift_takes_odd_keys(real, make_file, tmp_path):
    for number, key in enumerate(ODD_KEYS):
        file = make_file(100 + number)
        stored = real.put(key, file, create_bucket=True)
        found, got = real.get(key, tmp_path / "out")
        assert got == file.read_bytes() and found["sha256"] == stored["sha256"] == hashlib.sha256(got).hexdigest()
    assert real.list_all(recursive=True, max=3) == sorted(ODD_KEYS, key=str.encode)
    folders = sorted({k.split("/")[0] + "/" if "/" in k else k for k in ODD_KEYS}, key=str.encode)
    assert real.list_all(max=2) == folders and real.list_all("d/") == ["d/..x", "d/.hidden"]
    for key in ODD_KEYS:
        real.delete(key)
        real.delete(key)
    assert real.list_all(recursive=True) == []


def test_swift_takes_parts_ranges_and_kills(real, make_file, tmp_path):
    file, journal, out = make_file(3 * PART + 77), tmp_path / "journal", tmp_path / "out"
    for lines in range(2, 9):
        killed = real.start("put", f"k{lines}", file, part_bytes=PART, parallel=2, journal=journal, create_bucket=True, die_at=lines)
        killed.wait()
        assert killed.process.returncode == -9
        real.put(f"k{lines}", file, part_bytes=PART, journal=journal, create_bucket=True)
        assert real.get(f"k{lines}", out)[1] == file.read_bytes() and not journal.exists()
    assert real.get("k2", out, offset=PART - 5, length=10)[1] == file.read_bytes()[PART - 5:PART + 5]
    assert real.get("k2", out, offset=4 * PART)[1] == b""
    assert real.put("k2", file, part_bytes=PART)["already_there"]
    with pytest.raises(Failed) as failed:
        real.put("k2", make_file(2 * PART, "other", b"2"), part_bytes=PART)
    assert failed.value.name == "CONFLICT"
    assert real.list_all(recursive=True) == [f"k{n}" for n in range(2, 9)]


def test_swift_refuses_a_wrong_secret(swift, real, make_file):
    real.put("k", make_file(), create_bucket=True)
    wrong = Store(real.url, swift.environment("wrong"))
    for act, words in [(lambda: wrong.put("other", make_file(), replace=True), "403 SignatureDoesNotMatch"),
                       (lambda: wrong.stat("k"), "its secret is wrong"), (wrong.list, "403 SignatureDoesNotMatch")]:
        with pytest.raises(Failed, match=words) as failed:
            act()
        assert failed.value.name == "FORBIDDEN"


def test_a_large_file_takes_constant_memory(real, tmp_path):
    """Sparse but for a few marks; every part differs."""
    size = (5000 if os.environ.get("BIG") else 300) * MIB
    with open(tmp_path / "large", "wb") as file:
        for at in range(0, size, MIB):
            file.seek(at)
            file.write(b"%d" % at)
        file.truncate(size)
    patience = 1200
    run = real.run("put", "large", tmp_path / "large", journal=tmp_path / "journal", create_bucket=True, patience=patience)
    got = real.run("get", "large", "/dev/null", patience=patience)
    assert run.of("stored")[0]["size"] == got.of("found")[0]["size"] == size
    print("memory, KB: put", run.of("memory")[0]["kb"], "get", got.of("memory")[0]["kb"])
    assert SANITIZED or max(run.of("memory")[0]["kb"], got.of("memory")[0]["kb"]) < 32 << 10
