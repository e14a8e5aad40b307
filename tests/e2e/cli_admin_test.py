# SPDX-License-Identifier: Apache-2.0
"""lineshaft stream, consumer, dlq and log: what the broker keeps, as tables and as JSON."""
import json
import re

from cli import objects, ok, on_terminal, run


def rows(text):
    """A table as a list of rows of cells; two spaces or more part the cells."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def dead_letters(bus, count=2, consumer="c1"):
    """A consumer that rejects so many events for good."""
    peer = bus.dealer()
    peer.ok("HELLO", v=1, client="t", member="m1")
    peer.ok("SUB", cid=1, consumer=consumer, stream="events", takes=["job.>"])
    for i in range(count):
        ok("pub", "job.do", json.dumps({"n": i}), "--id", f"e{i}", url=bus.url)
    for seq in [e.seq for e in peer.events(count)]:
        peer.send("TERM", cid=1, seqs=[seq], error=f"no \x1b[31mpaper {seq}")
    peer.barrier()
    while len(peer.ok("ADM", op="dlq")["seqs"]) < count:
        pass
    return peer


def test_stream_ls_is_an_aligned_table(bus):
    ok("pub", "run.x", "y", "--count", "7", url=bus.url)
    text = ok("stream", "ls", url=bus.url)
    table = rows(text)
    assert table[0] == ["STREAM", "EVENTS", "SIZE", "FIRST", "LAST", "DURABILITY", "HEALTH", "TOPICS"]
    assert table[2][:2] + table[2][3:] == ["events", "7", "1", "7", "disk", "healthy", "run.>, chat.>, job.>"]
    assert re.fullmatch(r"1\.\d MiB", table[2][2])
    lines = text.splitlines()
    assert len({line.rindex(word) for line, word in zip(lines, ("DURABILITY", "memory", "disk", "disk"))}) == 1
    assert ok("stream", url=bus.url) == text


def test_stream_info_shows_one_and_names_what_there_is_not(bus):
    assert re.search(r"^next +1$", ok("stream", "info", "events", url=bus.url), re.M)
    assert json.loads(ok("stream", "info", "events", "--json", url=bus.url))["next"] == 1
    assert [s["name"] for s in json.loads(ok("stream", "ls", "--json", url=bus.url))] == ["memory", "events", "$sys"]
    result = run("stream", "info", "evens", url=bus.url)
    assert result.status == 1 and 'no stream "evens"' in result.err


def test_stream_info_tells_how_long_it_keeps_events(make_bus):
    bus = make_bus(more='  kept: { topics: ["kept.>"], retain: { age: 36h, size: 3GiB, count: 1000 } }\n')
    text = ok("stream", "info", "kept", url=bus.url)
    assert re.findall(r"^kept (.*?)  +(.*)$", text, re.M) == [("for", "1 d 12 h"), ("up to", "3.0 GiB"), ("at most", "1000 events")]
    assert re.search(r"^kept +for ever$", ok("stream", "info", "events", url=bus.url), re.M)


def test_events_counts_those_that_are_stored_and_no_gaps(bus):
    ok("pub", "run.x", "y", "--count", "5", url=bus.url)
    first, last = (json.loads(ok("stream", "info", "events", "--json", url=bus.url))[key] for key in ("first", "durable"))
    assert re.search(rf"^events +5, from {first} to {last}$", ok("stream", "info", "events", url=bus.url), re.M)
    bus.restart()  # a new start leaves a gap in the numbers
    ok("pub", "run.x", "y", "--count", "2", url=bus.url)
    info = json.loads(ok("stream", "info", "events", "--json", url=bus.url))
    assert info["events"] == 7 < info["durable"] and rows(ok("stream", "ls", url=bus.url))[2][1] == "7"


def test_consumer_ls_info_and_drop(bus):
    assert run("consumer", "ls", url=bus.url) == (0, "", "There are no consumers.\n")
    peer = bus.dealer()
    peer.ok("HELLO", v=1, client="t", member="m1")
    peer.ok("SUB", cid=1, consumer="report", stream="events", takes=["run.>"], window=2)
    ok("pub", "run.x", "y", "--count", "5", url=bus.url)
    peer.events(2)
    table = rows(ok("consumer", "ls", url=bus.url))
    assert table[1][:7] == ["report", "events", "group", "1", "5", "2", "0"] and table[1][-1] == "run.>"
    assert re.search(r"^declared +by a client$", ok("consumer", "info", "report", url=bus.url), re.M)
    assert json.loads(ok("consumer", "info", "report", "--json", url=bus.url))["members"] == 1
    peer.send("ACK", cid=1, seqs=[1], tag=1)
    peer.wait("OK", tag=1)
    assert re.search(r"^\(all\) +\d+ +4 ", ok("consumer", "info", "report", url=bus.url), re.M)
    peer.send("BYE")
    peer.wait("OK")
    assert ok("consumer", "reset", "report", "--to", "new", url=bus.url) == "ok report goes on at 6\n"
    assert ok("consumer", "reset", "report", "--to", "2", url=bus.url) == "ok report goes on at 2\n"
    assert json.loads(ok("consumer", "reset", "report", "--to", "all", "--json", url=bus.url))["next"] == 1
    for words in (["reset", "report"], ["reset", "report", "--to", "2x"], ["drop", "report", "--to", "all"], ["reset", "--to", "all"]):
        assert run("consumer", *words, url=bus.url).status == 2, words
    assert ok("consumer", "drop", "report", url=bus.url) == "ok dropped report\n"
    assert run("consumer", "info", "report", url=bus.url).status == 1
    assert "(NO_CONSUMER)" in run("consumer", "drop", "report", url=bus.url).err


def test_dlq_ls_and_show_tell_what_failed_and_why(bus):
    assert run("dlq", "ls", url=bus.url) == (0, "", "No dead letter is pending.\n")
    dead_letters(bus)
    table = rows(ok("dlq", "ls", url=bus.url))
    assert table[0] == ["LETTER", "WHEN", "CONSUMER", "TOPIC", "EVENT", "ATTEMPTS", "REASON", "ERROR"]
    assert table[1][2:] == ["c1", "job.do", "events:1", "1", "term", r"no \x1b[31mpaper 1"]
    letters = objects(ok("dlq", "ls", "--json", url=bus.url))
    assert [(x["seq"], x["data"], x["header"]["id"]) for x in letters] == [(1, {"n": 0}, "e0"), (2, {"n": 1}, "e1")]
    text = ok("dlq", "show", letters[1]["letter"], url=bus.url)
    assert re.search(r'^body +\{"n":1\}$', text, re.M) and re.search(r"^attempts +1 .* t/m1 ", text, re.M) and "\x1b" not in text


def test_a_dead_letter_that_is_not_there_is_an_error_said_once(bus):
    for verb in ("show", "drop", "replay"):
        result = run("dlq", verb, 12, url=bus.url)
        assert result.status == 1 and re.fullmatch(r"lineshaft dlq: there is no .*dead letter 12.* \(NOT_FOUND\)\n", result.err), result


def test_dlq_replay_and_drop_settle_one_or_all(bus):
    peer = dead_letters(bus, 4)
    letters = [x["letter"] for x in objects(ok("dlq", "ls", "c1", "--json", url=bus.url))]
    assert ok("dlq", "replay", letters[0], url=bus.url) == "ok 1 replayed\n"
    again, = peer.events(1, ack=1)
    assert (again.seq, again.head["id"]) == (1, "e0")
    assert ok("dlq", "drop", letters[1], url=bus.url) == "ok 1 dropped\n"
    assert ok("dlq", "replay", "--all", "--json", url=bus.url) == '{"replayed":2,"failed":0}\n'
    assert {e.seq for e in peer.events(2, ack=1)} == {3, 4}
    assert ok("dlq", "ls", url=bus.url) == ""
    result = run("dlq", "drop", letters[1], url=bus.url)
    assert (result.status, result.out) == (1, "") and f"letter {letters[1]}" in result.err


def test_log_check_and_dump_work_without_a_broker(bus):
    ok("pub", "run.x", '{"n": 1}', "--id", "i1", url=bus.url)
    ok("pub", "run.line", "-", url=bus.url, stdin="".join(f"line {i}\n" for i in range(300)))
    assert bus.stop() == 0
    text = ok("log", "check", bus.file)
    assert re.search(r"/events: fine, 0 errors$", text, re.M) and re.search(r"/\$sys: fine", text, re.M)
    events = objects(ok("log", "dump", "--stream", "events", bus.file, "--json"))
    assert [e["seq"] for e in events] == list(range(1, 302))
    assert events[0]["data"] == {"n": 1} and events[-1] == {**events[-1], "data": "line 299", "source": "lineshaft-pub"}
    part = objects(ok("log", "dump", bus.data / "events", "--from", "100", "-n", "2", "--json"))
    assert [e["seq"] for e in part] == [100, 101]
    assert "run.line" in ok("log", "dump", bus.data / "events", "-n", "2")
    assert run("log", "dump", bus.file).status == 2 and run("log", "check", "/no/such").status == 1


def test_log_check_names_file_and_offset_of_damage(bus):
    ok("pub", "run.line", "-", url=bus.url, stdin="".join(f"line {i}\n" for i in range(2000)))
    bus.stop()
    segment = max((bus.data / "events").iterdir(), key=lambda f: f.read_bytes().count(b"line 1"))
    content = bytearray(segment.read_bytes())
    at = content.index(b"line 1000")
    content[at] ^= 0xff
    segment.write_bytes(content)
    result = run("log", "check", bus.data / "events")
    assert result.status == 1, result
    found = re.search(rf"{re.escape(segment.name)}:(\d+): error: ", result.out)
    assert found and int(found.group(1)) <= at
    assert objects(run("log", "check", bus.data / "events", "--json").out)[0]["severity"] in ("error", "note")


def test_tables_fit_the_terminal(bus):
    dead_letters(bus, 1)
    status, text = on_terminal("dlq", "ls", url=bus.url, columns=60)
    assert status == 0 and all(len(line) <= 60 for line in text.split("\r\n"))
    assert text.split("\r\n")[1].endswith("…")
