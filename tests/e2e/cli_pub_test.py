# SPDX-License-Identifier: Apache-2.0
"""lineshaft pub: bodies, attributes, acknowledgements, streams of lines."""
import os
import pty
import re
import signal
import subprocess

import msgpack
import pytest

from bus import LINESHAFT, PATIENCE_S
from cli import TRACE, Background, environment, objects, ok, run
from faults_test import Faults


def stored(bus, stream="events"):
    return objects(ok("tail", "--all", "--stream", stream, "--json", url=bus.url))


@pytest.mark.parametrize("args, body", [
    (["plain text"], msgpack.packb("plain text")),
    (["42"], msgpack.packb("42")),
    (['{"a": [1, 2.50]}'], b'{"a": [1, 2.50]}'),
    (["{broken"], msgpack.packb("{broken")),
    (["42", "--as", "json"], msgpack.packb(42)),
    (["123", "--as", "json"], b"\xcc\x7b"),  # one byte 0x7b would be the beginning of a JSON object
    (["{}", "--as", "text"], msgpack.packb("{}")),
    (["82a16101a16202", "--as", "hex"], msgpack.packb({"a": 1, "b": 2})),
    (["raw", "--as", "bytes"], b"raw"),
    (["--file", "-"], b"\x00from\nstdin"),
    ([], b""),
])
def test_data_becomes_the_body_that_its_form_says(bus, args, body):
    feed = bus.feed("run.")
    ok("pub", "run.x", *args, url=bus.url, stdin=b"\x00from\nstdin")
    assert feed.recv_frames()[3] == body


def test_what_only_looks_like_json_goes_as_text_and_that_is_said(bus):
    done = run("pub", "run.x", '{"name": Ada}', url=bus.url)
    assert done.status == 0 and "line 1, column 12" in done.err and "--as json" in done.err
    assert run("pub", "run.x", '{"name": Ada}', "--as", "text", url=bus.url).err == ""


@pytest.mark.parametrize("args", [["{broken", "--as", "json"], ["abc", "--as", "hex"], ["--file", "/no/such/file"]])
def test_data_that_has_not_the_form_is_refused_before_anything_is_sent(bus, args):
    assert run("pub", "run.x", *args, url=bus.url).status == 1
    assert stored(bus) == []


def test_the_acknowledgement_says_where_and_how_safe(bus):
    assert re.fullmatch(r"ok events:1 disk [0-9a-f-]{36}\n", ok("pub", "run.x", "y", url=bus.url))
    assert ok("pub", "mem.x", "y", "--id", "m1", url=bus.url) == "ok memory:1 memory m1\n"
    assert ok("pub", "live.x", "y", "--id", "l1", url=bus.url) == "ok none l1 (no stream keeps this topic)\n"
    assert ok("pub", "mem.x", "y", "--id", "m1", url=bus.url) == "ok memory:1 memory m1 duplicate\n"
    assert objects(ok("pub", "run.x", "--id", "j", "--json", url=bus.url)) == [
        {"ok": True, "id": "j", "stream": "events", "seq": 2, "level": "disk"}]


def test_attributes_travel_with_the_event(bus):
    ok("pub", "run.x", "y", "--id", "i", "--source", "me", "--subject", "r1", "--key", "k", "--trace", TRACE,
       "-a", "causationid=c", "-a", "room=12", url=bus.url)
    event, = stored(bus)
    assert {k: event[k] for k in ("id", "source", "subject", "partitionkey", "causationid", "room")} == {
        "id": "i", "source": "me", "subject": "r1", "partitionkey": "k", "causationid": "c", "room": "12"}
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", event["traceparent"])


def test_the_example_of_its_help_works_and_a_wrong_body_is_told_where_bodies_are_described(bus):
    example = re.search(r"lineshaft pub (chat.feedback) '(.*)'", ok("help", "pub"))
    assert ok("pub", *example.groups(), url=bus.url).startswith("ok ")
    result = run("pub", "chat.feedback", "-", url=bus.url, stdin="{}\n{}\n")
    assert result.status == 1 and result.err.count("(SCHEMA)") == 2 and result.err.count("docs/events.md") == 1


def test_a_refusal_is_exit_status_1_with_the_brokers_sentence(bus):
    result = run("pub", "$sys.x", "y", url=bus.url)
    assert (result.status, result.out) == (1, "") and "(DENIED)" in result.err
    result = run("pub", "run.x", "--file", "-", stdin=b"x" * (2 << 20), url=bus.url)
    assert result.status == 1 and "(TOO_BIG)" in result.err


def test_lines_become_events_in_order_without_the_empty_ones(bus):
    out = ok("pub", "run.line", "-", url=bus.url, stdin="one\n\ntwo\r\n{\"n\": 3}\nlast without end")
    assert out.startswith("ok 4 events disk in ")
    assert [e["data"] for e in stored(bus)] == ["one", "two", {"n": 3}, "last without end"]


def test_an_import_with_an_id_can_be_repeated(bus):
    for duplicates in (0, 500):
        summary, = objects(ok("pub", "run.line", "--lines", "--id", "import", "--json", url=bus.url, stdin="x\n" * 500))
        assert (summary["acknowledged"], summary["refused"]) == (500, 0)
    assert len(stored(bus)) == 500


def test_a_line_that_is_refused_is_named_and_the_others_go_on(bus):
    result = run("pub", "run.line", "-", "--as", "json", url=bus.url, stdin='{"a": 1}\n{oops\n[2]\n')
    assert result.status == 1 and "line 2 was left out" in result.err and "2 events disk" in result.out
    assert [e["data"] for e in stored(bus)] == [{"a": 1}, [2]]


def test_count_and_rate_publish_the_same_event_many_times(bus):
    out = ok("pub", "run.x", "y", "--count", "30", "--rate", "1000", url=bus.url)
    assert out.startswith("ok 30 events disk") and len({e["id"] for e in stored(bus)}) == 30


def test_a_killed_broker_in_the_middle_of_the_lines_loses_nothing(bus):
    with Background("pub", "run.line", "-", "--rate", "2000", url=bus.url, stdin=subprocess.PIPE) as pub:
        pub.process.stdin.write("".join(f"{i}\n" for i in range(3000)))
        pub.process.stdin.flush()
        watch = bus.dealer()
        while watch.ok("ADM", op="streams")["streams"][1]["durable"] < 500:
            pass
        bus.kill()
        pub.wait_for("broker away")
        bus.start()
        pub.process.stdin.close()
        assert pub.end() == 0, pub.seen
    assert sorted({int(e["data"]) for e in stored(bus)}) == list(range(3000))
    assert len(stored(bus)) == 3000


def test_interrupting_the_input_waits_for_what_is_under_way(bus):
    with Background("pub", "run.line", "-", url=bus.url, stdin=subprocess.PIPE) as pub:
        pub.process.stdin.write("a\nb\n")
        pub.process.stdin.flush()
        watch = bus.dealer()
        while watch.ok("ADM", op="streams")["streams"][1]["durable"] < 2:
            pass
        assert pub.end(signal.SIGINT) == 1
        assert any("ok 2 events disk" in line for line in pub.seen)


@pytest.fixture
def full_bus(make_bus, tmp_path):
    faults = Faults(tmp_path)
    bus = make_bus(env=faults.env(tmp_path / "bus0" / "data"))
    faults.set("pwrite,fallocate,ftruncate,open ENOSPC")
    return bus, faults


@pytest.mark.parametrize("how, count", [(("tiny", "-n", 3), 3), (("-",), 2)])
def test_a_disk_that_stays_full_ends_it_after_the_timeout_with_the_count(full_bus, how, count):
    bus, _ = full_bus
    result = run("pub", "run.x", *how, "--timeout", "2s", url=bus.url, stdin="a\nb\n")
    waiting, last = result.err.splitlines()
    assert result.status == 1 and waiting.startswith("lineshaft pub: waiting: stream events: ") and waiting.endswith("(DISK_FULL)")
    assert last.startswith(f"lineshaft pub: 0 of {count} events acknowledged; last refusal: stream events: ")
    assert last.endswith("(DISK_FULL)")


def test_ctrl_c_ends_the_wait_for_a_full_disk(full_bus):
    bus, _ = full_bus
    with Background("pub", "run.x", "y", "-n", 3, "--timeout", "5m", url=bus.url) as pub:
        pub.wait_for("waiting: ")
        assert pub.end(signal.SIGINT) == 1
        assert any("0 of 3 events acknowledged" in line for line in pub.seen)


def test_what_a_full_disk_refused_is_stored_once_when_there_is_room(full_bus):
    bus, faults = full_bus
    with Background("pub", "run.x", "-", "--id", "n", url=bus.url, stdin=subprocess.PIPE) as pub:
        pub.process.stdin.write("".join(f"{i}\n" for i in range(1500)))
        pub.process.stdin.close()
        pub.wait_for("waiting: ")
        faults.set("")
        assert pub.end() == 0, pub.seen
    assert sorted(int(e["data"]) for e in stored(bus)) == list(range(1500))


@pytest.mark.parametrize("option", ["--count", "--rate"])
def test_nothing_to_publish_is_wrong_usage(option):
    assert run("pub", "run.x", "y", option, 0).status == 2


def test_lines_typed_at_a_terminal_are_answered_one_by_one(bus):
    master, slave = pty.openpty()
    process = subprocess.Popen([LINESHAFT, "pub", "run.x", "-"], stdin=slave, stdout=subprocess.PIPE, env=environment(bus.url))
    os.close(slave)
    os.write(master, b"first\n")
    assert process.stdout.readline().startswith(b"ok events:1 disk ")
    os.write(master, b"second\n\x04")
    assert process.stdout.readline().startswith(b"ok events:2 disk ")
    assert process.wait(PATIENCE_S) == 0
    os.close(master)


def test_req_prints_the_parts_as_they_come(bus):
    worker = bus.dealer()
    worker.ok("HELLO", v=1, client="worker")
    worker.ok("SUB", cid=1, serves=["job.*"])
    with Background("req", "job.tell", '{"q": 1}', "--subject", "s", url=bus.url) as req:
        ask = worker.expect("REQ")
        assert (ask.head["subject"], ask.frames) == ("s", [b'{"q": 1}'])
        worker.send("REP", {"rid": ask.head["rid"], "n": 0, "more": True}, b'{"part": 0}')
        req.wait_for('{"part":0}')
        worker.send("REP", {"rid": ask.head["rid"], "n": 1}, msgpack.packb("end\x1b[2J"))
        assert req.end() == 0 and req.seen[-1] == '"end\\u001b[2J"'


def test_req_json_and_raw(bus):
    worker = bus.dealer()
    worker.ok("HELLO", v=1, client="worker")
    worker.ok("SUB", cid=1, serves=["job.*"])
    for option, out in (("--json", '{"n":0,"last":false,"data":7}\n{"n":1,"last":true,"data_base64":"wf8="}\n'), ("--raw", "\x07\xc1\xff")):
        req = subprocess.Popen([LINESHAFT, "req", "job.tell", option], stdout=subprocess.PIPE, env=environment(bus.url))
        rid = worker.expect("REQ").head["rid"]
        worker.send("REP", {"rid": rid, "n": 0, "more": True}, b"\x07")
        worker.send("REP", {"rid": rid, "n": 1}, b"\xc1\xff")
        assert req.communicate(timeout=PATIENCE_S)[0].decode("latin-1") == out and req.returncode == 0


def test_req_fails_with_the_sentence_of_whoever_refused(bus):
    result = run("req", "job.tell", url=bus.url)
    assert (result.status, result.out) == (1, "") and "(NO_RESPONDER)" in result.err
    worker = bus.dealer()
    worker.ok("HELLO", v=1, client="worker")
    worker.ok("SUB", cid=1, serves=["job.*"])
    with Background("req", "job.tell", "--json", url=bus.url) as req:
        worker.send("REP", {"rid": worker.expect("REQ").head["rid"], "error": "out of paper", "number": 507})
        assert req.end() == 1
        assert any("lineshaft req: out of paper (FAILED)" in line for line in req.seen)
        assert any('"error":"FAILED","number":507' in line for line in req.seen)


def test_interrupting_a_request_cancels_it(bus):
    worker = bus.dealer()
    worker.ok("HELLO", v=1, client="worker")
    worker.ok("SUB", cid=1, serves=["job.*"])
    with Background("req", "job.tell", url=bus.url) as req:
        rid = worker.expect("REQ").head["rid"]
        req.process.send_signal(signal.SIGINT)
        assert worker.wait("CANCEL").head == {"rid": rid, "reason": "cancelled"}
        assert req.end() == 1 and "(CANCELLED)" in req.seen[-1]
