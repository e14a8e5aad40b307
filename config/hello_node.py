#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node in Python: for every `hello.said` it publishes one `hello.answered`, whatever is killed meanwhile.

It needs pyzmq and msgpack, and follows docs/protocol.md, "A client that survives". Two rules make it safe:
an event is acknowledged only when its answer is on disk, and the answer's id is made from the event's id, so that
working on an event twice stores its answer once.
"""
import json
import os
import random
import signal
import sys
import time

import msgpack
import zmq

URL = os.environ.get("LINESHAFT_URL", "tcp://127.0.0.1:7400")
CONSUMER = os.environ.get("LINESHAFT_CONSUMER", "greeter")
MEMBER = os.environ.get("LINESHAFT_MEMBER", CONSUMER)
OPTIONS = json.loads(os.environ.get("LINESHAFT_OPTIONS", "{}")).get("options", {})
HEARTBEAT_MS = 1000


class Lost(Exception):
    """The connection is of no use any more: make a new one."""


def send(socket, verb, head, body=b""):
    socket.send_multipart([verb.encode(), msgpack.packb(head), body])


def receive(socket):
    verb, head, *rest = socket.recv_multipart()
    return verb.decode(), msgpack.unpackb(head), rest


def ask(socket, verb, **head):
    """Send, and wait for the OK."""
    send(socket, verb, head)
    if not socket.poll(3 * HEARTBEAT_MS):
        raise Lost(f"no answer from {URL}")
    answer, head, _ = receive(socket)
    if answer != "OK":
        raise Lost(f"{verb}: {head.get('name', answer)}: {head.get('text', '')}")


def answer_to(head, body):
    """What the node is for. An exception makes the event come again later, and a dead letter in the end."""
    said = json.loads(body) if body[:1] in (b"{", b"[") else msgpack.unpackb(body)
    text = f"{OPTIONS.get('greeting', 'Hello')}, {said['name']}!"
    answer = {"topic": "hello.answered", "id": f"answer-{head['id']}", "source": CONSUMER, "causationid": head["id"]}
    return answer, msgpack.packb({"text": text})


def serve(socket):
    """Work on one connection until it is lost."""
    ask(socket, "HELLO", v=1, client=CONSUMER, member=MEMBER, hb=HEARTBEAT_MS)
    ask(socket, "SUB", cid=1, consumer=CONSUMER, window=200)
    sent, unanswered = 0, {}  # unanswered: n of a published answer -> seq of the event it belongs to
    heard = time.monotonic()
    while True:
        if not socket.poll(HEARTBEAT_MS):
            if time.monotonic() - heard > 3 * HEARTBEAT_MS / 1000:
                raise Lost("the broker is silent")
            send(socket, "PING", {})
            continue
        verb, head, rest = receive(socket)
        heard = time.monotonic()
        if verb == "MSG":
            try:
                answer, body = answer_to(msgpack.unpackb(rest[0]), rest[1] if len(rest) > 1 else b"")
            except Exception as error:  # whatever the event made go wrong, the dead letter will tell it
                send(socket, "NAK", {"cid": 1, "seqs": [head["seq"]], "error": f"{type(error).__name__}: {error}"})
                continue
            sent += 1
            unanswered[sent] = head["seq"]
            send(socket, "PUB", {**answer, "n": sent}, body)
        elif verb == "OK":
            done = [n for n in unanswered if n <= head["upto"]]
            send(socket, "ACK", {"cid": 1, "seqs": [unanswered.pop(n) for n in done]})
        elif verb == "ERR" and head.get("n") in unanswered and head["name"] != "NO_SESSION":
            refused = range(head["n"], head["n"] + head.get("count", 1))
            send(socket, "NAK", {"cid": 1, "seqs": [unanswered.pop(n) for n in refused], "error": head["text"]})
        elif verb == "GOODBYE" and head["reason"] == "replaced":
            sys.exit(f"another {CONSUMER} named {MEMBER} took over")
        elif verb in ("ERR", "GOODBYE") or (verb == "PONG" and not head["session"]):
            raise Lost(head.get("text") or head.get("reason") or "the broker was started anew")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    context, pause = zmq.Context(), 0.1
    while True:
        socket, began = context.socket(zmq.DEALER), time.monotonic()
        socket.linger, socket.rcvhwm = 2000, 20000
        socket.connect(URL)
        try:
            serve(socket)
        except Lost as why:
            print(f"connecting anew: {why}", file=sys.stderr, flush=True)
        finally:
            socket.close()
        pause = 0.1 if time.monotonic() - began > 10 else min(2 * pause, 10)
        time.sleep(pause * random.uniform(0.5, 1))


if __name__ == "__main__":
    main()
