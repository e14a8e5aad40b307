#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the kept corpus: tests/fuzz/seeds.py. Short valid inputs from which the fuzzers start; their own finds are not kept."""
import os
import shutil
import struct

from msgpack import ExtType, packb

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")

# ---- verbs_fuzz.c: dialogues

ANON, PULL, SUB, DELIMITED, STEP, COMMIT, EMPTY_LAST, MUTE, LATER = 1, 2, 3, 4, 8, 16, 32, 64, 128


def seq(back, stream=b"SEQ"):
    """What the fuzzer replaces by the stream's next number less `back`."""
    return Raw(b"\xcf" + stream + b"<\0\0\0" + bytes([back]))


class Raw(bytes):
    pass


def pack(value):
    """msgpack, with Raw bytes put in as they are."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        return packb_head(0x80, len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return packb_head(0x90, len(value)) + b"".join(pack(v) for v in value)
    return packb(value)


def packb_head(base, count):
    assert count < 16
    return bytes([base | count])


def message(how, *frames):
    return bytes([how]) + b"\xc1".join(f if isinstance(f, bytes) else pack(f) for f in frames)


def packed(*events):
    out = b""
    for header, body in events:
        head = pack(header)
        out += struct.pack(">II", len(head), len(body)) + head + body
    return out


EVENT = {"topic": "run.metric", "id": "e1"}
THREE = packed(({"topic": "run.a", "id": "b1"}, b"{}"), ({"topic": "chat.b", "id": "b2"}, b""), ({"topic": "note.c", "id": "b3"}, b"\x01"))
METRIC = packb({"run_id": "r1", "key": "loss", "value": 0.5, "step": 3})
EVERYTHING = {"topic": "note.x", "id": "i", "source": "s", "time": "2026-01-02T03:04:05Z", "subject": "u", "traceparent": "t",
              "tracestate": "t", "correlationid": "c", "extra": [1, {"a": None}]}
PUB = message(COMMIT, b"PUB", {"topic": "run.metric"}, METRIC)
DURABLE = message(STEP, b"SUB", {"cid": 1, "consumer": "work", "window": 16, "batch": True})
CREATED = {"cid": 2, "consumer": "own", "stream": "events", "takes": ["run.*", "chat.>"], "from": {"last": 5}, "ack_wait": 100,
           "backoff": [0, 10], "max_deliver": 1}
SERVE = message(STEP, b"SUB", {"cid": 3, "serves": ["job.>"], "slots": 2})
ASK = {"rid": 7, "topic": "job.add", "timeout": 50, "parts": 2, "colour": "red"}
VERBS = {
    "hello": [message(ANON | STEP, b"HELLO", {"v": 1, "client": "c", "hb": 1000, "tag": "t"}), message(ANON, b"PING", {"t": 5})],
    "replaced": [message(ANON | STEP, b"HELLO", {"v": 1, "client": "fuzz", "member": "m"}), message(STEP, b"PING", {})],
    "pub": [message(COMMIT, b"PUB", EVENT, METRIC), message(COMMIT, b"PUB", {**EVENT, "tag": 9}, METRIC)],
    "pub-all": [message(COMMIT, b"PUB", EVERYTHING, b"[1]"), message(DELIMITED | COMMIT, b"PUB", {"topic": "live.only"})],
    "pub-numbered": [message(0, b"PUB", {**EVENT, "n": 1}, METRIC), message(0, b"PUB", {"topic": "note.b", "n": 2}, b"x"),
                     message(COMMIT, b"PUB", {"topic": "Bad", "n": 3}, b"x"), message(STEP, b"PUB", {"topic": "a", "n": 9})],
    "bare": [message(COMMIT, {"topic": "run.metric", "data": {"run_id": "r", "key": "k", "value": 1, "step": 1}}),
             message(PULL | COMMIT, {"topic": "note.a", "data": b"\1\2", "tag": 1})],
    "topic": [message(COMMIT, b"note.a", b"body"), message(SUB | COMMIT, b"$sys.a", b"body"), message(PULL | STEP, b"chat.a", b"{}")],
    "batch": [message(COMMIT, b"PUB", {"batch": 3, "n": 1}, THREE), message(COMMIT, b"PUB", {"batch": 3, "tag": 1}, THREE),
              message(PULL | COMMIT, b"PUB", {"batch": 3}, THREE), message(COMMIT, b"PUB", {"batch": 4}, THREE)],
    "ack": [PUB, DURABLE, message(STEP, b"WIP", {"cid": 1, "seqs": [seq(1)]}),
            message(COMMIT, b"ACK", {"cid": 1, "seqs": [[seq(9), seq(1)]], "sync": True})],
    "nak": [PUB, DURABLE, message(COMMIT, b"NAK", {"cid": 1, "seqs": [seq(1)], "delay": 0, "error": "e"}),
            message(COMMIT, b"NAK", {"cid": 1, "seqs": [seq(1), seq(0)], "tag": 1}), message(STEP, b"ADM", {"op": "dlq"}),
            message(COMMIT, b"ADM", {"op": "dlq.replay", "seq": seq(1, b"SYS")})],
    "term": [PUB, DURABLE, message(COMMIT, b"TERM", {"cid": 1, "seqs": [seq(1)], "error": "e"}),
             message(COMMIT, b"ADM", {"op": "dlq.drop", "seq": seq(1, b"SYS")})],
    "consumer": [PUB, message(STEP, b"SUB", CREATED), message(STEP, b"MORE", {"cid": 2, "window": 5, "tag": 1}),
                 message(STEP, b"BYE", {"cid": 2}), message(COMMIT, b"ADM", {"op": "consumer.drop", "consumer": "own"})],
    "each": [message(STEP, b"SUB", {"cid": 4, "consumer": "each"}), message(COMMIT, b"note.a", b"1"), message(STEP, b"BYE")],
    "ephemeral": [message(STEP, b"SUB", {"cid": 5, "topics": ["run.*", ">"], "stream": "events", "from": "all", "window": 3}),
                  message(STEP, b"SUB", {"cid": 6, "topics": [">"], "from": {"streams": {"events": 1}}, "batch": True}), PUB,
                  message(COMMIT, b"live.only", b"x"), message(STEP, b"MORE", {"cid": 5, "n": 4})],
    "get": [PUB, message(STEP, b"GET", {"stream": "events", "seq": seq(1)}),
            message(DELIMITED, b"GET", {"stream": "notes", "seq": 1}),
            message(STEP, b"GET", {"stream": "events", "from": 1, "n": 9, "bytes": 500, "topics": ["run.>"], "batch": True}),
            message(ANON | STEP, b"GET", {"stream": "notes", "from": {"time_us": 5}}),
            message(0, b"GET", {"stream": "$sys", "from": {"last": 3}})],
    "request": [SERVE, message(ANON | STEP, b"REQ", ASK, b"body"), message(STEP, b"REP", {"rid": 1, "more": True}, b"part"),
                message(ANON, b"MORE", {"rid": 7, "parts": 3}), message(STEP, b"REP", {"rid": 1, "k": 1}, b"end")],
    "request-rep": [SERVE, message(ANON | DELIMITED | STEP, b"REQ", {"topic": "job.x"}, b"q"),
                    message(STEP, b"REP", {"rid": 1, "error": "no"})],
    "cancel": [message(ANON, b"REQ", ASK), SERVE, message(ANON, b"REQ", ASK), message(ANON | STEP, b"CANCEL", {"rid": 7}),
               message(ANON, b"REQ", ASK), message(STEP, b"BYE", {"cid": 3})],
    "ack-end": [PUB, DURABLE, message(STEP, b"WIP", {"cid": 1, "seqs": [2**64 - 1]}),
                message(STEP, b"NAK", {"cid": 1, "seqs": [2**64 - 1, 0]}),
                message(STEP, b"ACK", {"cid": 1, "seqs": [[2**64 - 5, 2**64 - 1], [0, 2**64 - 1]], "tag": 1})],
    "same-key": [message(COMMIT, b"PUB", Raw(b"\x83\xa5topic\xa5$sys.\xa5topic\xa6note.a\xa2id\xa11"), b"x")],
    "admin": [message(STEP, b"ADM", {"op": op}) for op in ("info", "streams", "consumers", "services", "dlq")],
    "ping": [message(ANON | STEP, b"PING", {"sync": "abc-1", "t": "x", "tag": "y"})],
    "later": [SERVE, message(ANON | STEP, b"REQ", ASK), PUB, DURABLE, message(LATER | COMMIT, b"PING"), message(LATER | COMMIT, b"PING"),
              message(ANON | DELIMITED | STEP, b"REQ", {"topic": "job.x"}, b"q"), message(STEP, b"REP", {"rid": 2, "more": 1})],
    "gone": [message(MUTE, b"HELLO", {"v": 1, "client": "gone"}), message(MUTE | STEP, b"SUB", {"cid": 1, "consumer": "work"}), PUB],
    "frames": [message(EMPTY_LAST, b"PUB", EVENT), message(ANON, b"A", b"b", b"c", b"d"), message(STEP, b"\xff"), message(SUB, b"ACK", {})],
}

# ---- the small ones

HEADERS = {"one": {"topic": "a"}, "twice": Raw(b"\x83\xa5topic\xa1a\xa1x\x01\xa5topic\xa1b"), "all": EVERYTHING,
           "control": {"n": 1, "topic": "a.b", "batch": 2, "id": "i", "tag": "t", "z": 1, "data": {"a": 1}}}
TOPICS = {"plain": "run.a\nrun.a\nrun.b\nrun", "star": "run.*\n*.a\nrun.a\nb.a",
          "rest": "run.>\nrun.*.b\nrun.a.b\nrun", "sys": "$sys.>\n>\n$sys.a\nsys.a"}
RANGES = {"numbers": [1, 2, 3, 9], "pairs": [[1, 4], 5, [10, 63], [2, 12]], "end": [2**64 - 1, [2**63, 2**64 - 1]]}
VALUES = {"numbers": [0, -1, 127, 128, -33, 2**32, 2**64 - 1, -2**63, 0.5], "texts": ["", "a" * 40, b"bin", "é"],
          "ext": [ExtType(1, b"1234"), ExtType(127, b"abc")],
          "deep": [[[[{"a": [None, True, False]}]]]], "signed": Raw(b"\x94\xd0\x05\xd1\x00\x05\xd2\x00\x00\x00\x05\xca\x3f\x80\x00\x00")}


def write(fuzzer, name, data):
    with open(os.path.join(HERE, fuzzer, name), "wb") as file:
        file.write(data)


def main():
    groups = {"verbs": {n: b"\xc1\xc1".join(m) for n, m in VERBS.items()},
              "header": {n + str(how): bytes([how]) + pack(v) for n, v in HEADERS.items() for how in (1, 14)},
              "topic": {n: v.encode() for n, v in TOPICS.items()}, "ranges": {n: packb(v) for n, v in RANGES.items()},
              "mp": {n: pack(v) if isinstance(v, Raw) else packb(v) for n, v in VALUES.items()}}
    for fuzzer, seeds in groups.items():
        shutil.rmtree(os.path.join(HERE, fuzzer), ignore_errors=True)
        os.makedirs(os.path.join(HERE, fuzzer))
        for name, data in seeds.items():
            write(fuzzer, name, data)


if __name__ == "__main__":
    main()
