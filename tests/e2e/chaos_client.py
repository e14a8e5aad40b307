#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The clients of chaos_test.py, each a process of its own: chaos_client.py {pipe|req|consume} with a JSON map of settings.

Each writes what it does to its own history file (see history.py), a line before or after the act so that a kill at any
moment leaves a true history: `pub` and `deliver` before anything else happens, `ok` and `ack` after.
Each raises its slot of a shared counter file, by which the test paces itself.
"""
import hashlib
import json
import mmap
import os
import pathlib
import random
import signal
import sqlite3
import struct
import sys
import time

import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from bus import Message, events_of, numbers_of, pack, pack_batch, unpack  # noqa: E402

SILENCE_S = 3.0
WINDOW = 200


class Client:
    def __init__(self, settings):
        self.__dict__.update(settings)
        self.random = random.Random(self.seed)
        self.history = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        with open(self.counters, "r+b") as f:
            self.count_map = mmap.mmap(f.fileno(), 0)
        self.count = struct.unpack_from("Q", self.count_map, 8 * self.slot)[0]
        self.context = zmq.Context()
        self.socket = None
        self.connection = 0
        self.stopping = False
        signal.signal(signal.SIGTERM, self.on_term)

    def on_term(self, *_):
        self.stopping = True

    def write(self, *entries):
        """One write a call: whole lines survive any kill."""
        os.write(self.history, "".join(json.dumps(e) + "\n" for e in entries).encode())

    def progress(self, count=1):
        self.count += count
        struct.pack_into("Q", self.count_map, 8 * self.slot, self.count)

    def connect(self, kind=zmq.DEALER):
        """A new socket, and HELLO until it is answered; False when told to stop meanwhile."""
        while not self.stopping:
            if self.socket:
                self.socket.close(0)
            self.socket = self.context.socket(kind)
            self.socket.linger, self.socket.rcvhwm = 2000, 20000
            self.socket.reconnect_ivl, self.socket.reconnect_ivl_max = 20, 200
            self.socket.connect(self.url)
            self.connection += 1
            self.conn = f"{self.name}.{os.getpid()}.{self.connection}"
            if kind == zmq.REQ:
                return True
            self.send("HELLO", v=1, client=self.client, member=self.name, hb=1000)
            msg = self.recv(1.0)
            if msg and msg.verb == "OK":
                return True
        return False

    def send(self, verb, head=None, body=None, **keys):
        self.socket.send_multipart([verb.encode(), pack({**(head or {}), **keys}), *([] if body is None else [body])])

    def recv(self, seconds):
        if not self.socket.poll(int(seconds * 1000)):
            return None
        frames = self.socket.recv_multipart()
        return Message(frames[0].decode(), unpack(frames[1]), frames[2:])

    def make(self, number):
        """(id, amount, header, body) of event `number`; now and then a body that goes over a few segments' worth of pages."""
        rng = random.Random(f"{self.seed}:{number}")
        amount = rng.randrange(1, 1000)
        padding = rng.randbytes(rng.choice([0, 20, 100, 100, 400, 3000 if number % 50 else 60000]))
        body = pack({"amount": amount, "pad": padding})
        id_ = f"{self.name}-{number}"
        return id_, amount, {"topic": f"job.{self.name}", "id": id_, "source": self.name}, body

    def pub_line(self, n, event):
        id_, amount, _, body = event
        return {"op": "pub", "t": time.monotonic(), "conn": self.conn, "n": n, "id": id_,
                "hash": hashlib.sha1(body).hexdigest(), "amount": amount}

    def ok_line(self, id_, head):
        keys = {k: head[k] for k in ("seq", "dup") if k in head}
        return {"op": "ok", "t": time.monotonic(), "conn": self.conn, "id": id_, "level": head["level"], **keys}


class Pipe(Client):
    """A DEALER with a window; batch=k publishes k events a message. Everything unacknowledged is sent again by id."""

    def run(self):
        made, again = 0, []  # again: events to be sent anew, oldest first
        while not self.stopping and self.connect():
            sent, open_, upto = 0, {}, 0
            heard = time.monotonic()
            while not self.stopping:
                while len(open_) < WINDOW and (again or not self.draining()):
                    batch = []
                    for _ in range(self.batch or 1):
                        if not again:
                            made += 1
                        batch.append(again.pop(0) if again else self.make(made))
                    self.publish(sent + 1, batch)
                    for event in batch:
                        sent += 1
                        open_[sent] = event
                if not open_ and self.draining():
                    return
                msg = self.recv(0.5)
                if msg is None and time.monotonic() - heard > SILENCE_S:
                    break
                if msg is None:
                    self.send("PING")
                    continue
                heard = time.monotonic()
                if not self.heard(msg, open_, again):
                    break
            again = [open_[n] for n in sorted(open_)] + again
        self.socket.close(2000)

    def draining(self):
        return os.path.exists(self.stop)

    def publish(self, n, batch):
        self.write(*(self.pub_line(n + i, event) for i, event in enumerate(batch)))
        if not self.batch:
            self.send("PUB", {**batch[0][2], "n": n}, batch[0][3])
        else:
            self.send("PUB", {"batch": len(batch), "n": n}, pack_batch([(e[2], e[3]) for e in batch]))

    def heard(self, msg, open_, again):
        """Take in an answer; False when the connection must be made anew."""
        if msg.verb == "OK":
            done = [n for n in sorted(open_) if n <= msg.head["upto"]]
            self.write(*(self.ok_line(open_.pop(n)[0], {"level": msg.head["level"]}) for n in done))
            self.progress(len(done))
        elif msg.verb == "ERR" and "n" in msg.head and msg.head["again"]:
            for n in numbers_of(msg.head):
                self.refused(open_[n][0], msg.head)
                again.append(open_.pop(n))
        elif msg.verb == "PONG":
            return msg.head["session"]
        elif msg.verb in ("ERR", "GOODBYE"):
            if msg.verb == "ERR" and msg.head["name"] != "NO_SESSION":
                raise SystemExit(f"{self.name}: unexpected {msg.head}")
            return False
        return True

    def refused(self, id_, head):
        self.write({"op": "fail", "t": time.monotonic(), "conn": self.conn, "id": id_, "number": head["number"],
                    "again": head["again"]})


class Req(Client):
    """A bare REQ socket: one event, one answer; a new socket when none comes, and the same event again. Every tenth event
    is sent twice on purpose: the second must be called a duplicate."""

    def run(self):
        made = 0
        while not self.stopping and not os.path.exists(self.stop):
            made += 1
            event = self.make(made)
            for _ in range(2 if made % 10 == 0 else 1):
                while not self.stopping and not self.publish(event):
                    self.socket.close(0)
                    self.socket = None

    def publish(self, event):
        if self.socket is None:
            self.connect(zmq.REQ)
        self.write(self.pub_line(self.count + 1, event))
        self.send("PUB", event[2], event[3])
        msg = self.recv(1.0)
        if msg is None or msg.verb == "GOODBYE":
            return False
        if msg.verb != "OK":
            return False if msg.head["again"] else sys.exit(f"{self.name}: unexpected {msg.head}")
        self.write(self.ok_line(event[0], msg.head))
        self.progress()
        return True


class Consumer(Client):
    """A member of a consumer (`client` names it in the history): writes each event into the consumer's table and adds up
    its amount, in one transaction, then acknowledges. A few events are refused once, a few for ever, a few
    acknowledgements wait for the disk."""

    def run(self):
        self.table = sqlite3.connect(self.sink, timeout=60, isolation_level=None)
        self.table.execute("PRAGMA synchronous = OFF")
        while not self.stopping and self.connect():
            self.session = self.conn
            self.send("SUB", {"cid": 1, "consumer": self.consumer, "stream": "events", "takes": ["job.>"], "batch": self.batch,
                              "share": self.share, "window": 100, "ack_wait": 2000, "backoff": [20, 100], "max_deliver": 0})
            self.serve()
        self.socket.close(2000)

    def serve(self):
        asked, heard = {}, time.monotonic()
        while not self.stopping:
            msg = self.recv(0.3)
            if msg is None:
                if time.monotonic() - heard > SILENCE_S:
                    return
                self.send("PING")
                continue
            heard = time.monotonic()
            if msg.verb == "MSG":
                self.handle(msg, asked)
            elif msg.verb == "OK" and msg.head.get("tag") in asked:
                seqs = asked.pop(msg.head["tag"])
                self.write(*({**self.ack_line(seq), "sync": True, "ok": True} for seq in seqs))
            elif msg.verb == "GOODBYE" or (msg.verb == "PONG" and not msg.head["session"]):
                return
            elif msg.verb == "ERR" and msg.head["name"] == "NO_SESSION":
                return
            elif msg.verb == "ERR" and msg.head["name"] != "STALE":
                raise SystemExit(f"{self.name}: unexpected {msg.head}")

    def ack_line(self, seq):
        return {"op": "ack", "t": time.monotonic(), "consumer": self.client, "seq": seq, "sync": False, "ok": True}

    def handle(self, msg, asked):
        events = events_of(msg)
        now = time.monotonic()
        self.write(*({"op": "deliver", "t": now, "consumer": self.client, "member": self.name, "session": self.session,
                      "seq": e.seq, "id": e.head["id"], "attempt": msg.head["attempt"],
                      "hash": hashlib.sha1(e.body).hexdigest()} for e in events))
        self.progress(len(events))
        good = []
        for event in events:
            chance = self.random.random()
            if chance < 0.01:
                self.send("NAK", cid=1, seqs=[event.seq], error="once more")
            elif self.share == "group" and int(event.head["id"].rsplit("-", 1)[1]) % 500 == 499:
                self.send("TERM", cid=1, seqs=[event.seq], error="not for me")
            else:
                good.append(event)
        if not good:
            return
        self.take(good)
        seqs = [e.seq for e in good]
        self.write(*(self.ack_line(seq) for seq in seqs))
        if self.random.random() < 0.05:
            asked[seqs[0]] = seqs
            self.send("ACK", cid=1, seqs=seqs, sync=True, tag=seqs[0])
        else:
            self.send("ACK", cid=1, seqs=seqs)

    def take(self, events):
        self.table.execute("BEGIN IMMEDIATE")
        for e in events:
            done = self.table.execute("INSERT OR IGNORE INTO sink VALUES (?)", (e.head["id"],))
            if done.rowcount == 1:
                self.table.execute("UPDATE balance SET value = value + ?", (unpack(e.body)["amount"],))
        self.table.execute("COMMIT")


if __name__ == "__main__":
    kinds = {"pipe": Pipe, "req": Req, "consume": Consumer}
    kinds[sys.argv[1]](json.loads(sys.argv[2])).run()
