# SPDX-License-Identifier: Apache-2.0
"""The kind `artifacts` where names, folders and stores are not as one expects (what it does else: artifacts_test.py)."""
import json
import os
import subprocess
import sys
import threading

import pytest

from artifacts_test import API, MLFLOW, Files, escaped, files, make, make_s3, s3, small_disk  # noqa: F401 (fixtures)
from bus import PATIENCE_S
from cli import Background, run, wait_until


def test_names_that_are_no_keys_are_no_artifacts(make):
    files = make()
    files.put("f/a", b"1")
    for name in (b"b\xff", b"c\n", b"d"):
        with open(os.fsencode(files.kept / "f") + b"/" + name, "w"):
            pass
    for more in ("", "&max=2", "&recursive=true"):
        listed = files.door("GET", f"/api/artifacts?prefix=f/{more}").json
        assert [o["path"] for o in listed["objects"]] == ["f/a", "f/d"] and listed["next"] is None
    assert files.door("DELETE", API + "f?recursive=true").status == 204
    assert sorted(os.listdir(os.fsencode(files.kept / "f"))) == [b"b\xff", b"c\n"]


def test_what_is_not_there_is_said_in_words(files):
    for base, at in ((API, ("error", "message")), (MLFLOW + "/", ("message",))):
        answer = files.door("GET", base + "nope").json
        for name in at:
            answer = answer[name]
        assert answer == "there is no artifact nope"


def test_names_that_are_cut_in_messages_stay_text(files):
    """900 bytes of key, of which a message shows the first: the cut falls into a letter."""
    key = "/".join(["a" + "\u00e4" * 110] * 4)
    assert files.put(escaped(key), b"one").status == 201
    refused = files.put(escaped(key), b"two", If_None_Match="*")
    assert refused.status == 412 and refused.json["error"]["code"] == "CONFLICT"
    assert files.door("GET", API + escaped(key + "/b")).json["error"]["code"] == "NOT_FOUND"
    files.publish(path=key, data="three")
    assert {e["data"].get("code") for e in files.outcomes(key, 3)} == {None, "CONFLICT"}
    files.publish(path=key + "/..", data="x")
    assert files.outcome(key + "/..")["data"]["code"] == "BAD_VALUE"


def test_a_folder_that_becomes_a_link_leads_nowhere(make):
    files = make()
    here, outside = files.kept.parent, files.kept.parent.parent / "outside"
    for folder, text in ((here / "d", "ours"), (outside, "secret")):
        folder.mkdir()
        (folder / "x").write_text(text)
    os.symlink(outside, here / "link")
    swap = subprocess.Popen([sys.executable, "-c", f"""
import ctypes
while True:
    ctypes.CDLL(None).renameat2(-100, {os.fsencode(here / "d")!r}, -100, {os.fsencode(here / "link")!r}, 2)"""])
    try:
        for i in range(60):
            files.publish(path=f"r/{i}", file="d/x")
        for i in range(60):
            if files.outcome(f"r/{i}")["topic"] == "artifact.stored":
                assert (files.kept / f"r/{i}").read_text() == "ours"
    finally:
        swap.kill()
        swap.wait()


def test_what_others_put_into_the_spool_is_left_alone(tmp_path):
    names = ["mine.data", "notes.txt", "train.part", "x.new", "y.journal", "z.json"]
    (tmp_path / "spool").mkdir()
    for name in names:
        (tmp_path / "spool" / name).write_text("precious")
    files = Files(tmp_path)
    try:
        assert files.put("a", b"1").status == 201
        wait_until(lambda: files.left() == names, f"only what was there: {files.left()}")
    finally:
        files.close()


@pytest.mark.parametrize("header", [{"Content_Range": "bytes 5-9/10"}, {"If_Match": '"nope"'}])
def test_a_part_of_a_file_does_not_replace_it(files, header):
    assert files.put("whole", b"0123456789").status in (200, 201)
    refused = files.put("whole", b"56789", **header)
    assert refused.status == 400 and refused.json["error"]["code"] == "BAD_VALUE"
    assert files.door("GET", API + "whole").body == b"0123456789"


def test_the_spool_is_not_inside_of_the_store(tmp_path):
    (tmp_path / "t.yaml").write_text("""lineshaft: 1
name: t
streams: { all: { topics: ["artifact.*"] } }
nodes:
  files: { kind: artifacts, store: "file:.", dir: spool }
""")
    with Background("node", "files", "t.yaml", cwd=tmp_path) as node:
        node.wait_for("inside of the store")
        assert node.end() != 0


def test_a_store_that_is_mounted_read_only_for_a_while_delays(small_disk):
    folder = small_disk.parent / "stack"
    folder.mkdir()
    (folder / "kept").symlink_to(small_disk)
    files = Files(folder, ", answer_after: 200ms")
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        assert files.put("late", b"x").status == 202
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert files.outcome("late")["topic"] == "artifact.stored"
    finally:
        files.close()


def test_s3_that_refuses_a_part_for_good_keeps_none(make_s3, s3):
    files = make_s3()
    s3.fault("status", status=403, code="AccessDenied", method="PUT", query="partNumber", skip=2)
    assert files.put("big", os.urandom(25_000_000)).status == 502
    assert files.outcome("big")["data"]["code"] == "FORBIDDEN"
    wait_until(lambda: not s3.uploads, "an upload that is forgotten")
    files.until_spool_is_empty()


def test_s3_takes_a_content_type_that_is_blank(make_s3):
    files = make_s3()
    files.publish(path="blank.txt", data="x", content_type="  ")
    assert files.outcome("blank.txt")["data"]["content_type"] == "text/plain"


def test_what_is_about_to_be_stored_below_a_path_is_not_deleted_with_it(make_s3, s3):
    files = make_s3()
    s3.fault("stall", method="PUT", key="below/x$")
    upload = threading.Thread(target=files.put, args=("below/x", b"1"))
    upload.start()
    assert s3.stalled.acquire(timeout=PATIENCE_S)
    busy = files.door("DELETE", API + "below?recursive=true")
    assert busy.status == 503 and busy.json["error"]["code"] == "BUSY"
    assert files.door("DELETE", API + "below").status == 204
    s3.release()
    upload.join()
    assert files.door("DELETE", API + "below?recursive=true").status == 204 and not s3.objects


def test_s3_that_lost_what_it_had_taken_gets_it_again(make_s3, s3):
    """Or somebody deleted it, before it was looked at."""
    files = make_s3()
    s3.fault("status", status=404, code="NoSuchKey", method="HEAD", key="once$", skip=1)
    assert files.put("once", b"x").status == 201 and files.outcome("once")["topic"] == "artifact.stored"
    for key, size in (("taken", 1), ("taken-in-parts", 12_000_000)):  # the key is taken, then it is not: 412, and 404
        method = "PUT" if size == 1 else "POST"
        s3.fault("status", status=412, code="PreconditionFailed", method=method, key=key, query=None if size == 1 else "uploadId")
        assert files.put(key, b"y" * size, If_None_Match="*").status in (200, 201)
        assert files.outcome(key)["topic"] == "artifact.stored" and not s3.uploads


def test_what_is_spooled_only_is_said_to_be(make_s3, s3):
    files = make_s3(", answer_after: 100ms")
    s3.fault("status", times=1000, status=503, method="PUT", key="late$")
    assert files.put("late", b"1").status == 202
    for path, at in ((API + "late", ("error", "message")), (MLFLOW + "/late", ("message",))):
        answer = files.door("GET", path)
        text = answer.json
        for name in at:
            text = text[name]
        assert answer.status == 503 and answer.headers["Retry-After"] and text == "late is spooled, and not in the store yet"
    assert files.door("HEAD", API + "late").status == 503
    assert files.door("GET", API + "late").json["error"]["code"] == "SPOOLED"
    assert "late is spooled" in run("req", "artifacts.stat", json.dumps({"path": "late"}), url=files.url).err
    s3.faults.clear()
    files.outcome("late")
    assert files.door("GET", API + "late").body == b"1"


def test_one_that_does_not_fit_holds_up_no_other(small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 3_000_000)
    folder = small_disk.parent / "full"
    folder.mkdir()
    (folder / "kept").symlink_to(small_disk)
    files = Files(folder)
    try:
        upload = threading.Thread(target=files.put, args=("large", os.urandom(2_000_000)))
        upload.start()
        files.up.wait_for("store-full")
        for i in range(20):
            assert files.put(f"small/{i}", b"x").status == 201
        filler.unlink()
        assert files.outcome("large")["topic"] == "artifact.stored"
        files.up.wait_for("store-room")
        upload.join()
        assert sum("store-full" in line for line in files.up.seen) == 1
    finally:
        files.close()


def test_folders_that_hold_nothing_are_not_there(make):
    files = make()
    assert files.put("a/b/" + "n" * 300, b"x").json["error"]["code"] == "BAD_VALUE"
    assert files.put("c/" + "n" * 300 + "/d", b"x").json["error"]["code"] == "BAD_VALUE"
    assert os.listdir(files.kept) == [".lineshaft"]
    files.put("full/x/y", b"1")
    for path in ("empty/a/b", "empty/c", "full/hollow"):
        (files.kept / path).mkdir(parents=True)
    assert files.door("GET", "/api/artifacts").json["folders"] == ["full/"]
    assert files.door("GET", "/api/artifacts?prefix=full/").json["folders"] == ["full/x/"]
    gone = files.door("DELETE", API + "empty?recursive=true")
    assert gone.status == 204 and gone.headers["X-Lineshaft-Deleted"] == "0"
    assert files.door("DELETE", API + "full?recursive=true").headers["X-Lineshaft-Deleted"] == "1"
    assert os.listdir(files.kept) == [".lineshaft"]


def test_what_s3_quotes_is_cut_and_the_advice_stands_before_it(make_s3, s3):
    files = make_s3()
    s3.fault("status", status=403, code="SignatureDoesNotMatch", message="They differ.\\nCanonical request: PUT\\n/bucket", method="PUT")
    text = files.put("k", b"x").json["error"]["message"]
    assert "403 SignatureDoesNotMatch; is the secret key the one that belongs to the access key?" in text
    assert text.endswith(": They differ.")
