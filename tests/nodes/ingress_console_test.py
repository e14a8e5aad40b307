# SPDX-License-Identifier: Apache-2.0
"""GET /api/console, what all consoles read, and what /metrics makes of the same answers. An `up` of the test's own is a peer of the bus."""
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from bus import PATIENCE_S, pack
from cli import wait_until
from stack import Http, Stack, Stream

NODES = """
  door: {{ kind: ingress, listen: "{http}" }}
"""
KEY = "ls_test_0123456789"
KEYED = """
  door: {{ kind: ingress, listen: "{http}", keys: {{ alice: "sha256:%s" }} }}
""" % hashlib.sha256(KEY.encode()).hexdigest()
LISTS = {"streams", "consumers", "services", "sessions", "topics"}
UP = {"name": 'a "shop"\\', "file": "shop.yaml", "host": "box", "pid": 1, "started_us": 1, "now_us": 2, "nodes": [],
      "processes": [{"name": "up", "node": None, "kind": "up", "pid": 1, "state": "running", "since_us": 5000000, "restarts": 0,
                     "last_end": None, "cpu_ms": 1500, "pss": None, "rss": 2048, "processes": 2},
                    {"name": "model.2", "node": "model", "kind": "inference", "pid": None, "state": "waiting", "since_us": 7000000,
                     "restarts": 3, "last_end": "killed by SIGKILL", "cpu_ms": 0, "pss": 4096, "rss": 8192, "processes": 1},
                    {"name": "clock", "node": "clock", "kind": "scheduler", "pid": 7, "state": "ending", "since_us": 7000000,
                     "restarts": 0, "last_end": None, "cpu_ms": 0, "pss": 4096, "rss": 8192, "processes": 1}]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("console"), NODES)
    yield stack
    stack.close()


@contextlib.contextmanager
def console(http, query="", **headers):
    """A console's records as an iterator of (event, data), and the stream that they come from."""
    stream = http.stream("GET", f"/api/console{query}", headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert stream.status == 200 and stream.headers["content-type"].startswith("text/event-stream")

    def records():
        while (record := stream.record()) is not None:
            if "data" in record:
                yield record["event"], json.loads(record["data"]), record.get("id")

    try:
        yield records()
    finally:
        stream.close()


def first(records, event, fits=lambda data: True):
    """The next record of this name that fits."""
    for name, data, place in records:
        if name == event and fits(data):
            return data, place
    raise AssertionError(f"the stream ended without such a record: {event}")


@contextlib.contextmanager
def supervisor(stack, name, answer):
    """A peer that serves up.status.NAME; `answer` makes the body of each answer, None: it says nothing."""
    peer, over = stack.dealer(f"faker-{name}"), threading.Event()
    peer.ok("SUB", cid=1, serves=[f"up.status.{name}"])

    def work():
        while not over.is_set():
            peer.send("PING")
            while peer.socket.poll(50):
                message = peer.recv()
                if message.verb == "REQ" and answer() is not None:
                    peer.send("REP", {"rid": message.head["rid"], "n": 0}, answer())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE_S)
        peer.send("BYE")
        peer.close()


def test_a_console_shows_the_state_at_once_and_again(stack):
    with console(stack) as records:
        state, _ = first(records, "state")
        assert LISTS < set(state) and all(isinstance(state[name], list) for name in LISTS)
        assert {"now_us", "since_us", "supervisors"} < set(state) and state["broker"]["counters"]["events_in"] >= 0
        assert "op" not in state["broker"] and "tag" not in state["broker"]
        assert [stream["name"] for stream in state["streams"]] == ["events", "$sys"]
        assert "door" in [session["client"] for session in state["sessions"]]
        later, _ = first(records, "state")
        assert later["now_us"] > state["now_us"]


def test_lists_are_as_the_broker_answers_them(stack):
    stack.post("/api/events", {"topic": "lists.shown", "data": {"x": 1}})
    peer = stack.dealer("asker")
    with console(stack) as records:
        state, _ = first(records, "state", lambda state: any(topic["topic"] == "lists.shown" for topic in state["topics"]))
        told = {topic["topic"]: topic for topic in peer.ok("ADM", op="topics")["topics"]}
        shown = {topic["topic"]: topic for topic in state["topics"]}
        assert shown["lists.shown"] == told["lists.shown"] and state["since_us"] == peer.ok("ADM", op="topics")["since_us"]
        assert [c["name"] for c in state["consumers"]] == [c["name"] for c in peer.ok("ADM", op="consumers")["consumers"]]
    peer.close()


def test_the_bus_is_asked_once_for_all_watchers(stack):
    with console(stack) as one, console(stack) as other:
        seen = {first(one, "state")[0]["now_us"], first(one, "state")[0]["now_us"]}
        while first(other, "state")[0]["now_us"] not in seen:
            seen.add(first(one, "state")[0]["now_us"])


def test_a_console_counts_as_a_feed(stack):
    def open_feeds():
        lines = stack.get("/metrics").body.decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith("lineshaft_ingress_feeds_open{")), None)

    with console(stack) as records:
        first(records, "state")
        wait_until(lambda: open_feeds() == 1, "one open feed")
    wait_until(lambda: open_feeds() == 0, "no open feed")


def test_with_a_topic_events_come_too_and_each_once_after_a_reconnect(stack):
    for i in range(3):
        stack.post("/api/events", {"topic": "console.seen", "data": {"i": i}})
    with console(stack, "?topic=console.seen&from=all") as records:
        got = [first(records, "event") for _ in range(3)]
        assert [event["data"]["i"] for event, _ in got] == [0, 1, 2]
        assert first(records, "state")
    with console(stack, "?topic=console.seen", Last_Event_ID=got[1][1]) as records:
        assert first(records, "event")[0]["data"]["i"] == 2
        stack.post("/api/events", {"topic": "console.other", "data": {"i": 3}})
        stack.post("/api/events", {"topic": "console.seen", "data": {"i": 4}})
        assert first(records, "event")[0]["data"]["i"] == 4


def test_without_a_topic_no_events_come(stack):
    with console(stack) as records:
        first(records, "state")
        stack.post("/api/events", {"topic": "console.quiet", "data": {}})
        assert [next(records)[0], next(records)[0]] == ["state", "state"]


def test_what_is_asked_for_wrongly_is_answered_422(stack):
    for query in ("?topic=", "?topic=a..b", "?topic=a.b&from=yesterday", "?topic=a.b&stream=none&from=last:3"):
        assert stack.get("/api/console" + query).status == 422, query


def test_a_key_is_needed_where_there_are_keys(tmp_path):
    stack = Stack(tmp_path, KEYED)
    try:
        assert stack.get("/api/console").status == 401
        page = stack.get("/console")
        assert page.status == 200 and b"<html" in page.body and "script-src 'self'" in page.headers["content-security-policy"]
        with console(Http(stack.port, KEY)) as records:
            first(records, "state")
    finally:
        stack.close()


def test_who_reads_slowly_misses_states_and_gets_the_newest(stack):
    peer = stack.dealer("large")
    for i in range(100):  # a state of more than a MB
        peer.ok("SUB", cid=i + 1, serves=[f"large.{i}"], about={"pad": "x" * 16000})
    slow = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=PATIENCE_S)
    slow.sock = socket.socket()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sock.settimeout(PATIENCE_S)
    slow.sock.connect(("127.0.0.1", stack.port))
    slow.request("GET", "/api/console")
    with console(stack) as records:
        told = [first(records, "state")[0]["now_us"] for _ in range(8)]
        stream = Stream(slow, slow.getresponse())
        got = [stream.data()["now_us"]]
        while got[-1] <= told[-1]:
            got.append(stream.data()["now_us"])
    stream.close()
    assert len([now for now in got if now in told]) < len(told) - 2
    peer.send("BYE")
    peer.close()


@pytest.mark.short
def test_when_the_bus_goes_away_consoles_are_told_and_state_comes_again(tmp_path):
    stack = Stack(tmp_path, NODES)
    try:
        with console(stack) as records, console(stack, "?topic=console.kept&from=all") as events:
            boot = first(records, "state")[0]["broker"]["boot"]
            first(events, "state")
            os.kill(stack.broker_pid(), signal.SIGKILL)
            assert first(records, "away")[0]["text"] and first(events, "away")[0]["text"]
            assert first(records, "state")[0]["broker"]["boot"] != boot
            stack.post("/api/events", {"topic": "console.kept", "data": {"i": 1}})
            assert first(events, "event")[0]["data"] == {"i": 1}
    finally:
        stack.close()


def test_every_up_is_asked_and_none_can_hold_the_others_up(stack):
    with supervisor(stack, "0badcafe", lambda: json.dumps(UP).encode()), supervisor(stack, "deadbeef", lambda: None), \
            supervisor(stack, "00000bad", lambda: b'{"name": nonsense'), supervisor(stack, "00000001", lambda: pack({"name": "x"})):
        with console(stack) as records:
            state, _ = first(records, "state", lambda state: UP in state["supervisors"])
            assert not [up for up in state["supervisors"] if up["name"] in ("x", "nonsense")]
    with console(stack) as records:
        first(records, "state", lambda state: UP not in state["supervisors"])


def metrics(stack, query=""):
    return stack.get("/metrics" + query).body.decode()


def test_metrics_tell_of_processes(stack):
    with supervisor(stack, "0badcafe", lambda: json.dumps(UP).encode()):
        wait_until(lambda: 'up="a \\"shop\\"\\\\"' in metrics(stack), "the processes of the test's own `up`")
        text = metrics(stack)
    labels = '{process="model.2",node="model",kind="inference",up="a \\"shop\\"\\\\",host="box"}'
    for line in (f"lineshaft_process_up{labels} 0", f"lineshaft_process_restarts_total{labels} 3",
                 f"lineshaft_process_pss_bytes{labels} 4096",
                 'lineshaft_process_cpu_seconds_total{process="up",kind="up",up="a \\"shop\\"\\\\",host="box"} 1.5'):
        assert line in text.splitlines(), line
    assert 'lineshaft_process_pss_bytes{process="up",kind="up",up="a' not in text, "the kernel did not tell"
    assert 'lineshaft_process_up{process="clock",node="clock",kind="scheduler",up="a' not in text, "it was told to end"
    assert 'topic="up.status.' not in text, "an id that is new at each start is no label"


def test_two_that_call_themselves_the_same_are_told_of_once(stack):
    with supervisor(stack, "00000001", lambda: json.dumps(UP).encode()), supervisor(stack, "00000002", lambda: json.dumps(UP).encode()):
        with console(stack) as records:
            first(records, "state", lambda state: state["supervisors"].count(UP) == 2)
            samples = [line.rsplit(" ", 1)[0] for line in metrics(stack).splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples))


def test_no_name_that_a_node_gives_its_numbers_spoils_the_rest(stack):
    peer = stack.dealer("foreign")
    peer.send("PING", stats={"broker_connections": 5, "up": 7, "ingress_chat_duration_seconds_sum": 1, "upright": 8, "foreign_total": 9})
    wait_until(lambda: 'lineshaft_upright{node="foreign"' in metrics(stack), "the numbers of the foreign node")
    text = metrics(stack)
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) and 'lineshaft_foreign_total{node="foreign"' in text and "lineshaft_up 1" in text
    assert not re.search(r'lineshaft_(up|broker_connections|ingress_chat_duration_seconds_sum)\{node="foreign"', text)
    peer.send("BYE")
    peer.close()


def test_a_number_that_is_told_twice_is_there_once(stack):
    peer = stack.dealer("double")
    twice = pack({"stats": {"twice_total": 1, "twice_other": 2}}).replace(b"other", b"total")
    peer.send_frames(b"PING", twice)
    wait_until(lambda: 'lineshaft_twice_total{node="double"' in metrics(stack), "the numbers of the node")
    assert len(re.findall(r'^lineshaft_twice_total\{node="double"', metrics(stack), re.M)) == 1
    peer.send("BYE")
    peer.close()


def test_metrics_of_self_are_what_no_other_ingress_can_tell(stack):
    text = metrics(stack, "?of=self")
    assert 'lineshaft_ingress_chat_first_token_seconds_count{node="door",member="door"} 0' in text and "lineshaft_up 1" in text
    assert "lineshaft_stream" not in text and "lineshaft_process" not in text


def test_promtool_finds_nothing_to_say(stack):
    wait_until(lambda: "lineshaft_ingress_http_requests_total" in metrics(stack), "what the node counts")
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: deploy/setup test installs it"
    done = subprocess.run([promtool, "check", "metrics"], input=metrics(stack), capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
