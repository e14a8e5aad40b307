# SPDX-License-Identifier: Apache-2.0
"""lineshaft tail: following, history, filters, and bytes that must do no harm. Traces: trace_test.py."""
import json
import os
import pty
import re
import subprocess

import msgpack
import pytest

from bus import LINESHAFT, PATIENCE_S
from cli import Background, environment, objects, ok, on_terminal, run


def publish(bus, topic, data="", **head):
    """From Python, so that attributes can be anything; the answer's head. Each event is a millisecond later than the last."""
    peer = bus.dealer()
    bus.published = getattr(bus, "published", 0) + 1
    head.setdefault("time", f"2026-11-20T10:{bus.published // 60000:02}:{bus.published % 60000 / 1000:06.3f}Z")
    body = data if isinstance(data, bytes) else msgpack.packb(data)
    return peer.ok("PUB", {"topic": topic, **head}, body)


def following(bus, *args):
    """A tail whose subscriptions stand."""
    tail = Background("tail", *args, url=bus.url)
    watch = bus.dealer()
    for n in range(10000):
        watch.ok("PUB", {"topic": "live.begin", "id": f"begin{n}"}, msgpack.packb("begin"))
        watch.socket.poll(20)
        if not tail.lines.empty():
            break
    return tail


def test_it_follows_what_streams_keep_and_what_none_keeps(bus):
    with following(bus) as tail:
        publish(bus, "run.x", {"a": 1}, subject="r1")
        publish(bus, "live.x", "hi")
        assert re.fullmatch(r'[-\d]+ \d\d:\d\d:\d\d\.\d{3} events:1     run\.x                  r1 \{"a":1\}', tail.wait_for("run.x"))
        assert re.fullmatch(r'[-\d]+ \d\d:\d\d:\d\d\.\d{3} -            live\.x                 "hi"', tail.wait_for("live.x"))


def test_it_survives_a_killed_broker_and_shows_what_it_missed(bus):
    with following(bus, "--json", "run.>", "mem.>", "live.begin") as tail:
        publish(bus, "run.x", 1)
        tail.wait_for('"data":1}')
        bus.kill()
        tail.wait_for("broker away, reconnecting")
        bus.start()
        for n in range(2, 400):
            publish(bus, "run.x", n) if n % 100 == 0 else publish(bus, "mem.x", n)
        tail.wait_for('"data":399}')
        shown = [json.loads(line) for line in tail.seen if line.startswith('{"stream":')]
        assert sorted(e["data"] for e in shown) == list(range(1, 400))


def test_history_ends_by_itself_and_can_go_on(bus):
    for n in range(10):
        publish(bus, "run.x" if n % 2 else "mem.x", n)
    seen = [e["data"] for e in objects(ok("tail", "--last", "3", "--json", url=bus.url))]
    assert seen == [7, 8, 9]
    assert [e["data"] for e in objects(ok("tail", "--last", "2", "run.>", "--json", url=bus.url))] == [7, 9]
    assert len(objects(ok("tail", "--since", "1h", "--json", url=bus.url))) == 10
    assert ok("tail", "--since", "2100-01-01", "--json", url=bus.url) == ""
    assert [e["seq"] for e in objects(ok("tail", "--stream", "events", "--from-seq", "4", "--json", url=bus.url))] == [4, 5]
    assert len(objects(ok("tail", "--no-follow", "-n", "4", "--json", url=bus.url))) == 4
    with Background("tail", "--last", "1", "-f", "--json", "run.>", url=bus.url) as tail:
        tail.wait_for('"data":9')
        publish(bus, "run.x", "new")
        tail.wait_for('"data":"new"')


def test_last_looks_back_past_what_does_not_match(bus):
    publish(bus, "run.rare", "here")
    ok("pub", "run.often", "x", "--count", "3000", url=bus.url)
    assert [e["data"] for e in objects(ok("tail", "run.rare", "--last", "1", "--json", url=bus.url))] == ["here"]
    publish(bus, "chat.x", "one", subject="s1")
    ok("pub", "run.often", "x", "--count", "3000", url=bus.url)
    assert [e["data"] for e in objects(ok("tail", "--subject", "s1", "--last", "5", "--json", url=bus.url))] == ["one"]


def test_from_seq_without_a_stream_is_wrong_when_there_are_several(bus):
    result = run("tail", "--from-seq", "1", url=bus.url)
    assert result.status == 2 and "--from-seq needs --stream" in result.err
    assert 'no stream "evens"' in run("tail", "--stream", "evens", url=bus.url).err


def test_streams_are_merged_by_time(bus):
    for n in range(40):
        publish(bus, "run.x" if n % 3 else "mem.x", n)
    assert [e["data"] for e in objects(ok("tail", "--all", "--json", url=bus.url))] == list(range(40))


def test_fields_are_tab_separated(bus):
    publish(bus, "run.x", {"key": "loss", "value": {"at": [1, 2.5]}}, id="i1", room="a\tb")
    out = ok("tail", "--all", "--fields", "seq,id,room,body.key,body.value.at.1,nothing,body", url=bus.url)
    assert out == '1\ti1\ta b\tloss\t2.5\t\t{"key":"loss","value":{"at":[1,2.5]}}\n'


def test_json_has_every_attribute_and_the_body(bus):
    publish(bus, "run.x", b'[1, "\xe2\x80\xaea"]', id="i", flag=True, nested={"a": [None, 1.5]})
    publish(bus, "run.y", b"\xc1\xff")
    publish(bus, "run.z", {"bin": b"\x00\x01", 7: float("nan"), "big": 2**64 - 1})
    first, second, third = objects(ok("tail", "--all", "--json", url=bus.url))
    assert {k: first[k] for k in ("stream", "seq", "topic", "id", "source", "flag", "nested", "data")} == {
        "stream": "events", "seq": 1, "topic": "run.x", "id": "i", "source": "anonymous", "flag": True,
        "nested": {"a": [None, 1.5]}, "data": [1, "\u202ea"]}
    assert second["data_base64"] == "wf8=" and "data" not in second
    assert third["data"] == {"bin": "AAE=", "7": None, "big": 2**64 - 1}


@pytest.mark.parametrize("option", [[], ["--json"], ["--body", "full"], ["--fields", "id,subject,body,body.a,odd"]])
def test_nothing_from_the_wire_reaches_the_terminal_raw(bus, option):
    evil = "\x1b]0;owned\x07\x1b[2J\r\x00\x7f\x9b31m\u202e\u2028"
    publish(bus, "run.a", {"a": evil, evil: [evil]}, id=evil, subject=evil, odd=evil)
    publish(bus, "run.b", json.dumps({"a": evil}, ensure_ascii=False).encode(), id="b" + evil, subject=b"\xff\xfe".decode("latin-1"))
    publish(bus, "run.c", b"\xc1" + evil.encode() + b"\xff\x80")
    publish(bus, "run.d", b"{not json " + evil.encode())
    out = ok("tail", "--all", *option, url=bus.url)
    assert len(out) > 200
    bad = [c for c in out if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2028"]
    assert not bad, bad


def test_the_body_is_cut_at_the_width_of_the_terminal(bus):
    publish(bus, "run.x", {"text": "日本語 " * 100})
    publish(bus, "run.y", "short")
    for columns in (80, 120):
        status, text = on_terminal("tail", "--all", url=bus.url, columns=columns, NO_COLOR="1")
        lines = text.replace("\r\n", "\n").splitlines()
        width = [sum(2 if ord(c) > 0x2e80 else 1 for c in line) for line in lines]
        assert status == 0 and columns - 2 <= width[0] <= columns and lines[0].endswith("…") and lines[1].endswith('"short"')
    assert ok("tail", "--all", "--body", "none", url=bus.url).splitlines()[1].endswith("run.y")
    assert '    {\n      "text": "日本語 ' in ok("tail", "run.x", "--all", "--body", "full", url=bus.url)


def test_colours_only_on_a_terminal_that_wants_them(bus):
    publish(bus, "run.x", "y")
    assert "\x1b[36mrun.x\x1b[0m" in on_terminal("tail", "--all", url=bus.url)[1]
    assert "\x1b" not in on_terminal("tail", "--all", url=bus.url, NO_COLOR="1")[1]
    assert "\x1b" not in on_terminal("tail", "--all", url=bus.url, TERM="dumb")[1]
    assert "\x1b" not in ok("tail", "--all", url=bus.url)


def test_a_reader_that_goes_away_ends_it(bus):
    """No event is needed to see it."""
    reader, writer = os.pipe()
    tail = subprocess.Popen([LINESHAFT, "tail", "-f", "--all"], stdout=writer, env=environment(bus.url))
    os.close(writer)
    publish(bus, "run.x", "y")
    assert b"run.x" in os.read(reader, 1000)
    os.close(reader)
    assert tail.wait(PATIENCE_S) == 0


def test_the_brokers_own_events_are_shown_when_asked_for(bus):
    bus.push().send("PUB", {"topic": "NOT A TOPIC"}, b"x")
    with Background("tail", "--all", "-f", "$sys.>", "--json", url=bus.url) as tail:
        assert '"topic":"$sys.rejected"' in tail.wait_for("$sys.rejected")
    assert ok("tail", "--all", url=bus.url) == ""
    assert len(objects(ok("tail", "--all", "--stream", "$sys", "--json", url=bus.url))) == 1


def test_on_a_terminal_it_says_that_it_waits_and_what_nobody_knows(make_bus):
    bus = make_bus()
    master, slave = pty.openpty()
    tail = subprocess.Popen([LINESHAFT, "tail", "nosuch.topic", "run.*"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave,
                            env=environment(bus.url))
    os.close(slave)
    with os.fdopen(master, "rb") as screen:
        said = screen.readline() + screen.readline()
        tail.terminate()
        tail.wait(PATIENCE_S)
    assert b"waiting for new events" in said and b"nosuch.topic: no stream keeps such a topic" in said and b"run.*" not in said
