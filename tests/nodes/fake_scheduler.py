# SPDX-License-Identifier: Apache-2.0
"""A scheduler that says what a test wants: it serves task.claim and task.renew, queues tries and reads reports (docs/nodes/task-run.md)."""
import collections
import itertools
import json
import threading

import zmq

from bus import PATIENCE_S, Peer, events_of, unpack
from cli import wait_until


class Scheduler:
    def __init__(self, url, lease_ms=30000):
        self.url, self.lease_ms = url, lease_ms
        self.context = zmq.Context()
        self.lock = threading.RLock()
        self.claims, self.renewals, self.granted = [], [], {}
        self.reports = collections.defaultdict(list)  # try -> events, each once, in the order of the log
        self.refuse, self.stop_tries, self.silent = {}, [], False
        self.seen, self.outbox = set(), []
        self.start()

    # ---- its life

    def start(self):
        self.peer = Peer(self.context, zmq.DEALER, self.url)
        self.peer.ok("HELLO", v=1, client="fake-scheduler")
        self.peer.ok("SUB", cid=2, topics=["task.started", "task.progress", "task.ended"], stream="events", **{"from": "all"})
        self.peer.send("SUB", cid=1, serves=["task.claim", "task.renew"], slots=64)
        self.over, self.numbers = False, itertools.count(1)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def stop(self):
        """Goes away, as one that is killed."""
        self.over = True
        self.thread.join(PATIENCE_S)
        self.peer.close()

    def close(self):
        self.stop()
        self.context.destroy(linger=0)

    def work(self):
        turns = 0
        while not self.over:
            turns += 1
            if turns % 50 == 0:
                self.peer.send("PING")
            with self.lock:
                for head, body in self.outbox:
                    self.peer.send("PUB", {**head, "n": next(self.numbers)}, body)
                self.outbox.clear()
            if self.peer.socket.poll(10):
                self.take(self.peer.recv())

    def take(self, msg):
        with self.lock:
            if msg.verb == "REQ" and not self.silent:
                body = json.loads(msg.frames[0])
                answer = self.on_claim(body) if msg.head["topic"] == "task.claim" else self.on_renew(body)
                self.peer.send("REP", {"rid": msg.head["rid"]}, json.dumps(answer).encode())
            elif msg.verb == "MSG":
                events = events_of(msg)
                self.peer.send("MORE", cid=2, n=len(events))
                for event in events:
                    self.on_report(event)

    # ---- what it says

    def on_claim(self, body):
        self.claims.append(body)
        if body["try"] in self.refuse:
            return {"granted": False, "reason": self.refuse[body["try"]]}
        holder = (body["runner"], body["boot"])
        if self.granted.setdefault(body["try"], holder) != holder:
            return {"granted": False, "reason": "taken"}
        return {"granted": True, "lease_ms": self.lease_ms, "cancelled": False}

    def on_renew(self, body):
        self.renewals.append(body)
        stop = [entry for entry in self.stop_tries if entry["try"] in body["tries"]]
        return {"lease_ms": self.lease_ms, "stop": stop}

    def on_report(self, event):
        key = event.head["topic"], event.head["id"]
        if key not in self.seen:
            self.seen.add(key)
            body = json.loads(event.body) if event.body[:1] == b"{" else unpack(event.body)
            self.reports[body["try"]].append({"topic": event.head["topic"], "head": event.head, **body})

    def publish(self, topic, **body):
        with self.lock:
            self.outbox.append(({"topic": topic}, json.dumps(body).encode()))

    def queue(self, command, name=None, **more):
        """Queues a try; its id."""
        name = name or f"t-{next(self.names)}"
        self.publish("task.queued", **{"workflow": "w", "workflow_run_id": "r/1", "task": "a", "try": name, "attempt": 1,
                                       "command": command, **more})
        return name

    names = itertools.count()

    # ---- what it heard

    def of(self, name, topic):
        with self.lock:
            return [report for report in self.reports[name] if report["topic"] == topic]

    def until(self, name, topic):
        wait_until(lambda: self.of(name, topic), f"{topic} of {name}: {self.reports[name]}")
        return self.of(name, topic)[0]

    def started(self, name):
        return self.until(name, "task.started")

    def ended(self, name):
        return self.until(name, "task.ended")

    def log(self, name):
        """What of the log came over the bus, by its place."""
        return {r["log_offset"]: r["log"] for r in self.of(name, "task.progress") if "log" in r}
