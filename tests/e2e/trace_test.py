# SPDX-License-Identifier: Apache-2.0
"""lineshaft tail --trace: the story of one chat as a tree, found by any of its ids."""
import json
import re

import msgpack
import pytest

from cli import TRACE, Background, objects, ok, on_terminal, run

SPAN, OTHER_SPAN = "00f067aa0ba902b7", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = "0af7651916cd43dd8448eb211c80319c"
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the\n  sky blue?"}]
COMPLETED = {"request_id": "r-1", "model": "ngram", "version": 3, "worker": "model.1", "finish_reason": "stop", "duration_ms": 80.5,
             "first_token_ms": 12.5, "usage": {"completion_tokens": 35, "prompt_tokens": 9}}


def publish(bus, topic, at_ms, data, **head):
    body = data if isinstance(data, bytes) else msgpack.packb(data)
    head.setdefault("time", f"2026-11-20T10:00:{at_ms / 1000:06.3f}Z")
    head.setdefault("source", "chat")
    bus.dealer().ok("PUB", {"topic": topic, **head}, body)


def chat(bus, n=1, trace=TRACE, at_ms=0):
    """One turn: asked, answered, recorded by the tracker without a causationid, judged with no link but the request's id."""
    head = {"subject": "c-19", "correlationid": f"r-{n}", "traceparent": f"00-{trace}-{SPAN}-01"}
    asked = {"request_id": f"r-{n}", "model": "ngram", "messages": ASKED}
    publish(bus, "chat.request", at_ms, json.dumps(asked).encode(), id=f"e{n}", **head)
    publish(bus, "chat.completed", at_ms + 92, {**COMPLETED, "request_id": f"r-{n}"}, id=f"e{n}-done", causationid=f"e{n}", **head)
    publish(bus, "mem.row", at_ms + 95, {"row": n}, id=f"e{n}-row", source="tracking", causationid=f"e{n}-done")
    publish(bus, "chat.feedback", at_ms + 5095, {"request_id": f"r-{n}", "rating": "down", "reason": "wrong", "comment": "no"})


def shown(text):
    return [re.sub(r"[-\d]+ \d\d:\d\d:\d\d\.\d{3}$", "T", line) for line in text.splitlines()]


STORY = [f"trace {TRACE}  c-19  T",
         '     0 ms           chat.request       chat      ngram, 2 messages: "Why is the sky blue?"',
         "    92 ms   +92 ms  ├─ chat.completed  chat      ngram version 3 on model.1, took 80 ms, first token after 12 ms, 35 tokens, "
         "500 tokens/s",
         "    95 ms  +3.0 ms  │  └─ mem.row      tracking  {\"row\":1}",
         "    5.1 s   +5.1 s  └─ chat.feedback   chat      down, wrong: \"no\"",
         "4 events, 5.1 s in all"]


@pytest.mark.parametrize("asked", [TRACE, PARENT, "e1", "e1-done", "r-1", "c-19"])
def test_a_chat_is_told_as_a_tree_whatever_id_is_given(bus, asked):
    publish(bus, "chat.request", 0, {"messages": ASKED}, id="x", traceparent=f"00-{OTHER}-{SPAN}-01", correlationid="r-x")
    publish(bus, "run.other", 0, "not of it")
    chat(bus)
    publish(bus, "chat.feedback", 9000, {"request_id": "r-x", "rating": "up"})
    assert shown(ok("tail", "--trace", asked, url=bus.url)) == STORY


def test_a_feedback_leads_to_its_chat(bus):
    chat(bus)
    publish(bus, "chat.feedback", 9000, {"request_id": "r-1", "rating": "up", "score": 0.5}, id="late")
    lines = shown(ok("tail", "--trace", "late", url=bus.url))
    assert lines[-1] == "5 events, 9.0 s in all" and lines[-2].endswith("└─ chat.feedback   chat      up, score 0.5")


def test_a_chat_with_several_turns_has_a_tree_for_each(bus):
    chat(bus)
    chat(bus, 2, OTHER, at_ms=20000)
    lines = shown(ok("tail", "--trace", "c-19", url=bus.url))
    assert lines[:5] == STORY[:5]
    assert lines[5:7] == [f"trace {OTHER}  c-19  T", STORY[1]]
    assert lines[-1] == "8 events in 2 traces, 25 s in all"
    assert shown(ok("tail", "--trace", "r-1", url=bus.url)) == STORY


@pytest.mark.parametrize("topic, body, story", [
    ("chat.failed", {"error": "no worker serves chat.generate", "code": "NO_RESPONDER", "status": 503, "duration_ms": 3},
     "NO_RESPONDER 503: no worker serves chat.generate, after 3.0 ms"),
    ("chat.failed", {"error": "cut", "partial": True, "usage": {"completion_tokens": 1, "estimated": True}},
     "cut, part of the answer had gone out, ~1 token"),
    ("chat.cancelled", {"reason": "disconnect", "duration_ms": 950, "usage": {"completion_tokens": 7}},
     "disconnect, after 950 ms, 7 tokens"),
    ("chat.completed", {"model": "m", "finish_reason": "length", "duration_ms": 1000, "usage": {"completion_tokens": 2}},
     "m, took 1.0 s, 2 tokens, 2.0 tokens/s, ended by length"),
    ("chat.request", {"model": "m", "messages": [{"role": "user", "content": None}]}, "m, 1 message, text not recorded"),
    ("chat.request", {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url"}]}]},
     '1 message: "see [image_url]"'),
    ("chat.feedback", {"rating": "up"}, "up"),
    ("chat.odd", {"a": [1]}, '{"a":[1],"request_id":"r"}'),
])
def test_every_chat_event_has_its_story(bus, topic, body, story):
    publish(bus, topic, 0, {**body, "request_id": "r"}, id="e", traceparent=PARENT)
    line = ok("tail", "--trace", "e", url=bus.url).splitlines()[1]
    assert line.split("  chat  ", 1)[1] == story


def test_causation_goes_before_the_span(bus):
    publish(bus, "job.request", 0, "q", id="e1", traceparent=PARENT)
    publish(bus, "job.made", 1, "a", id="e2", causationid="e1", traceparent=PARENT)
    publish(bus, "job.metered", 2, "b", id="e3", causationid="e2", traceparent=f"00-{TRACE}-{OTHER_SPAN}-01")
    publish(bus, "job.completed", 3, "c", id="e4", traceparent=PARENT)
    publish(bus, "job.apart", 4, "d", id="e5", traceparent=f"00-{TRACE}-{'1' * 16}-01")
    lines = ok("tail", "--trace", TRACE, url=bus.url).splitlines()
    assert [line.split("chat")[0][20:].rstrip() for line in lines[1:-1]] == [
        "job.request", "├─ job.made", "│  └─ job.metered", "└─ job.completed", "job.apart"]


def test_as_json_it_is_one_tree(bus):
    chat(bus)
    found = json.loads(ok("tail", "--trace", "r-1", "--json", url=bus.url))
    assert (found["asked"], found["events"], found["duration_ms"]) == ("r-1", 4, 5095)
    [trace] = found["traces"]
    assert trace["trace"] == TRACE and trace["began"] == "2026-11-20T10:00:00.000Z"
    [root] = trace["tree"]
    assert root["event"]["topic"] == "chat.request" and root["after_parent_ms"] is None
    done, feedback = root["children"]
    assert (done["offset_ms"], done["after_parent_ms"], feedback["event"]["data"]["rating"]) == (92, 92, "down")
    assert done["children"][0]["event"]["id"] == "e1-row" and done["children"][0]["after_parent_ms"] == 3
    lines = ok("tail", "--trace", "r-1", "--fields", "id,topic", url=bus.url).splitlines()
    assert lines[:3] == ["e1\tchat.request", "e1-done\tchat.completed", "e1-row\tmem.row"]


def test_followed_it_goes_on(bus):
    with Background("tail", "--trace", "r-1", "-f", url=bus.url) as tail:
        for n in range(1000):
            publish(bus, "chat.request", 0, {"messages": ASKED}, id="e1", correlationid="r-1", traceparent=PARENT)
            if not tail.lines.empty():
                break
        tail.wait_for("chat.request")
        publish(bus, "chat.completed", 92, COMPLETED, id="e2", causationid="e1")
        assert re.match(r"    92 ms   \+92 ms  └─ chat.completed", tail.wait_for("chat.completed"))
        for n in range(1000):  # what no stream keeps is heard only by who has joined the live feed
            publish(bus, "live.note", 93, "kept by none", causationid="e2")
            if not tail.lines.empty():
                break
        assert re.match(r"    93 ms  \+1.0 ms     └─ live.note", tail.wait_for("live.note"))
        publish(bus, "run.other", 94, "not of it")
        publish(bus, "chat.feedback", 95, {"request_id": "r-1", "rating": "up"})
        tail.wait_for("chat.feedback")
        assert not any("run.other" in line for line in tail.seen)


def test_followed_as_json_each_event_is_a_line(bus):
    chat(bus)
    with Background("tail", "--trace", "r-1", "-f", "--json", url=bus.url) as tail:
        tail.wait_for("chat.feedback")
        publish(bus, "run.end", 6000, "x", causationid="e1")
        tail.wait_for("run.end")
        assert [e["topic"] for e in objects("\n".join(tail.seen))] == [
            "chat.request", "chat.completed", "mem.row", "chat.feedback", "run.end"]


def test_nothing_found_is_said_so(bus):
    result = run("tail", "--trace", "f" * 32, url=bus.url)
    assert result.status == 1 and "it is the id of no trace, event, chat, request or run" in result.err and not result.out


def test_on_a_terminal_it_has_colours_and_fits(bus):
    chat(bus)
    publish(bus, "chat.failed", 99, {"request_id": "r-1", "error": "e " * 100}, traceparent=PARENT, causationid="e1")
    text = on_terminal("tail", "--trace", "r-1", url=bus.url, columns=80)[1]
    assert "\x1b[1mchat.request\x1b[0m" in text and "\x1b[31mchat.failed\x1b[0m" in text
    plain = re.sub(r"\x1b\[\d+m", "", text).replace("\r\n", "\n").splitlines()
    assert max(map(len, plain)) == 80 and all(line.endswith("…") for line in plain if len(line) == 80)
    assert "\x1b" not in on_terminal("tail", "--trace", "r-1", url=bus.url, NO_COLOR="1")[1]


@pytest.mark.parametrize("option", [[], ["--json"], ["--body", "full"]])
def test_nothing_from_the_wire_reaches_the_terminal_raw(bus, option):
    evil = "\x1b]0;owned\x07\x1b[2J\r\x00\x7f\x9b31m\u202e\u2028"
    publish(bus, "chat.request", 0, {"model": evil, "messages": [{"role": "user", "content": evil}]}, id="e", subject=evil, source=evil,
            traceparent=PARENT)
    publish(bus, "chat.failed", 1, {"request_id": "e", "error": evil, "code": evil}, traceparent=PARENT, source=evil)
    publish(bus, "chat.feedback", 2, {"request_id": "e", "rating": "up", "reason": evil, "comment": evil}, id=evil)
    out = ok("tail", "--trace", "e", *option, url=bus.url)
    assert len(out) > 300
    bad = [c for c in out if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2028"]
    assert not bad, bad
