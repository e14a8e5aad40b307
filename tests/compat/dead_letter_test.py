# SPDX-License-Identifier: Apache-2.0
"""Dead letters: what they hold, and replay and drop through ADM (docs/protocol.md, Dead letters, Administration)."""
import pytest

from bus import events_of, pack, unpack

pytestmark = pytest.mark.short

W = {"consumer": "w", "stream": "events", "takes": ["job.>"], "backoff": [1], "max_deliver": 3}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def give_up(bus, count=1):
    """A consumer that fails every event until it is a dead letter; the peer and the seqs."""
    c = bus.client("c", member="m")
    c.ok("SUB", W, cid=1)
    d, seqs = bus.dealer(), []
    for i in range(count):
        seqs.append(d.ok("PUB", {"topic": "job.a", "id": f"e{i}", "source": "s", "traceparent": TRACE, "subject": "run-1"},
                         pack(i))["seq"])
    for _ in range(3 * count):
        msg = c.expect("MSG")
        c.send("NAK", cid=1, seqs=[msg.head["seq"]], error=f"no luck {msg.head['attempt']}")
    bus.until("the dead letters", lambda: len(bus.admin("dlq")["seqs"]) == count)
    return c, seqs


def test_after_max_deliver_the_dead_letter_tells_everything(bus):
    c, (seq,) = give_up(bus)
    letter, = bus.stream("$sys")
    told = unpack(letter.body)
    assert letter.head["topic"] == "$dlq.w" and letter.head["id"] == f"events:{seq}:w"
    assert letter.head["traceparent"] == TRACE and letter.head["subject"] == "run-1"
    assert told["reason"] == "max_deliver" and told["error"] == "no luck 3"
    assert [(a["attempt"], a["error"]) for a in told["attempts"]] == [(i, f"no luck {i}") for i in (1, 2, 3)]
    assert all(a["at_us"] > 0 and a["member"].split("/")[-1] == "m" for a in told["attempts"])
    assert (told["stream"], told["seq"], told["consumer"], told["topic"]) == ("events", seq, "w", "job.a")
    assert told["header"]["id"] == "e0" and told["header"]["traceparent"] == TRACE and told["body"] == pack(0)
    assert bus.consumer("w")["dead"] == 1 and bus.consumer("w")["positions"][0]["pending"] == 0
    assert c.barrier() == []


def test_term_makes_a_dead_letter_at_once(bus):
    c = bus.client("c")
    c.ok("SUB", W, cid=1)
    seq, = bus.publish("job.a")
    c.expect("MSG")
    c.send("TERM", cid=1, seqs=[seq], error="not for me")
    bus.until("the dead letter", lambda: bus.admin("dlq")["seqs"])
    told = unpack(bus.stream("$sys")[0].body)
    assert told["reason"] == "term" and told["error"] == "not for me" and len(told["attempts"]) == 1


def test_ack_wait_running_out_leads_there_too(bus):
    c = bus.client("c")
    c.ok("SUB", {**W, "ack_wait": 1000, "max_deliver": 1}, cid=1)
    seq, = bus.publish("job.a")
    c.expect("MSG")
    bus.until("the dead letter", lambda: bus.admin("dlq")["seqs"])
    assert unpack(bus.stream("$sys")[0].body)["seq"] == seq


def test_replay_delivers_the_original_again_from_attempt_one(bus):
    c, (seq,) = give_up(bus)
    letter, = bus.admin("dlq", consumer="w")["seqs"]
    bus.admin("dlq.replay", seq=letter)
    msg = c.expect("MSG")
    event, = events_of(msg)
    assert msg.head["attempt"] == 1 and msg.head["seq"] == seq and unpack(event.body) == 0
    c.ok("ACK", cid=1, seqs=[seq], sync=True)
    assert bus.admin("dlq")["seqs"] == []


def test_replay_survives_a_kill(bus):
    c, (seq,) = give_up(bus)
    c.close()
    bus.admin("dlq.replay", seq=bus.admin("dlq")["seqs"][0])
    bus.restart()
    assert bus.admin("dlq")["seqs"] == []
    c = bus.client("c")
    c.ok("SUB", W, cid=1)
    assert c.expect("MSG").head["seq"] == seq


def test_drop_forgets_a_dead_letter_for_good(bus):
    give_up(bus, count=3)
    first, second, third = bus.admin("dlq")["seqs"]
    bus.admin("dlq.drop", seq=second)
    assert bus.admin("dlq")["seqs"] == [first, third]
    assert bus.admin("dlq", n=1)["seqs"] == [first]
    bus.restart()
    assert bus.admin("dlq")["seqs"] == [first, third]
    bus.dealer().err("NOT_FOUND", "ADM", op="dlq.drop", seq=second)
    assert len(bus.stream("$sys")) == 3


def test_a_dead_letter_survives_a_kill_and_is_written_once(bus):
    give_up(bus)
    bus.restart()
    assert len(bus.admin("dlq")["seqs"]) == 1 and len(bus.stream("$sys")) == 1
    c = bus.client("c")
    c.ok("SUB", W, cid=1)
    last, = bus.publish("job.a")
    assert c.expect("MSG").head["seq"] == last


def test_dead_letters_can_be_followed_like_any_event(bus):
    watch = bus.client("watch")
    watch.ok("SUB", cid=7, consumer="undertaker", stream="$sys", takes=["$dlq.>"])
    give_up(bus)
    event, = watch.events(1, ack=7)
    assert event.head["topic"] == "$dlq.w"


def test_a_dead_letter_keeps_the_last_ten_attempts_and_500_bytes_of_each_error(bus):
    c = bus.client("c")
    c.ok("SUB", {**W, "max_deliver": 12}, cid=1)
    seq, = bus.publish("job.a")
    for attempt in range(1, 13):
        assert c.expect("MSG").head["attempt"] == attempt
        c.send("NAK", cid=1, seqs=[seq], error=f"{attempt}-" + "x" * 1000)
    bus.until("the dead letter", lambda: bus.admin("dlq")["seqs"])
    attempts = unpack(bus.stream("$sys")[0].body)["attempts"]
    assert [a["attempt"] for a in attempts] == list(range(3, 13))
    assert all(len(a["error"]) == 500 for a in attempts)


def test_replaying_what_retention_took_is_trimmed(make_bus):
    bus = make_bus(more="  short: { topics: ['short.>'], segment: 64KiB, retain: { size: 128KiB } }")
    c, d = bus.client("c"), bus.dealer()
    c.ok("SUB", cid=1, consumer="w", stream="short", takes=["short.one"])
    seq = d.ok("PUB", {"topic": "short.one"}, b"x")["seq"]
    c.expect("MSG")
    c.send("TERM", cid=1, seqs=[seq])
    bus.until("the dead letter", lambda: bus.admin("dlq")["seqs"])
    d.pipeline(150, lambda i: ({"topic": "short.a"}, pack(b"x" * 10000)))

    def trimmed():
        d.send("GET", stream="short", seq=seq)
        if d.recv().verb == "ERR":
            return True
        d.expect("END")
        return False

    bus.until("retention", trimmed, patience=60)
    letter, = bus.admin("dlq")["seqs"]
    d.err("TRIMMED", "ADM", op="dlq.replay", seq=letter)
    d.ok("ADM", op="dlq.drop", seq=letter)
