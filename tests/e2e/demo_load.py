#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The two active parts of demo.sh.

    demo_load.py load URL COUNT UP_PID     publishes, and kills the broker and the node of `lineshaft up` meanwhile
    demo_load.py check URL COUNT           looks whether every acknowledged event is in the log and was answered once
"""
import collections
import os
import pathlib
import signal
import sys
import time

import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from bus import Peer, events_of, numbers_of, pack  # noqa: E402

CONTEXT = zmq.Context()


def event(number):
    return {"topic": "hello.said", "id": f"demo-{number}", "source": "demo"}, pack({"name": f"visitor {number}"})


def descendants(pid):
    """{pid: command line} of everything that `pid` started."""
    parents, found = collections.defaultdict(list), {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        parents[int(stat.rsplit(")", 1)[1].split()[1])].append((int(entry), line))
    todo = [pid]
    while todo:
        for child, line in parents[todo.pop()]:
            found[child] = line
            todo.append(child)
    return found


def kill(up, what, word, done):
    for pid, line in descendants(up).items():
        if word in line:
            os.kill(pid, signal.SIGKILL)
            print(f"  {done:6,} acknowledged: kill -9 of {what} (process {pid})", flush=True)
            return
    print(f"  {done:6,} acknowledged: {what} is being restarted already", flush=True)


def load(url, count, up):
    """A publisher as docs/protocol.md wants it: a window, and what is unacknowledged is sent again by id."""
    kills = [(count * part // 6, what, word) for part, what, word in
             ((1, "the broker", " broker "), (2, "the node", "hello_node"), (3, "the broker", " broker "), (4, "the node", "hello_node"))]
    todo, began, connections, done, again = collections.deque(range(1, count + 1)), time.monotonic(), 0, 0, 0
    while todo:
        peer, open_, sent = Peer(CONTEXT, zmq.DEALER, url), collections.OrderedDict(), 0
        connections += 1
        alive = True
        while alive and (todo or open_):
            while todo and len(open_) < count // 10:
                sent += 1
                open_[sent] = todo.popleft()
                head, body = event(open_[sent])
                peer.send("PUB", {**head, "n": sent}, body)
            if not peer.socket.poll(1000):
                break
            msg = peer.recv()
            if msg.verb == "OK":
                for n in [n for n in open_ if n <= msg.head["upto"]]:
                    del open_[n]
                    done += 1
                if kills and done >= kills[0][0]:
                    _, what, word = kills.pop(0)
                    kill(up, what, word, done)
            elif msg.verb == "ERR" and msg.head["again"]:
                todo.extendleft(open_.pop(n) for n in numbers_of(msg.head))
            else:
                alive = False
        todo.extendleft(reversed(open_.values()))
        again += len(open_)
        peer.close()
    print(f"  {done:6,} acknowledged, all of them on disk; {connections} connections, {again} events sent again, "
          f"{time.monotonic() - began:.1f} s")


def read(peer):
    """[(topic, id, causationid)] of the whole stream."""
    at, got = 0, []
    while True:
        peer.send("GET", {"stream": "greetings", "from": at, "n": 1000, "batch": True})
        while (msg := peer.recv()).verb == "MSG":
            got += [(e.head["topic"], e.head["id"], e.head.get("causationid")) for e in events_of(msg)]
        at = msg.head["next"]
        if at > msg.head["last"]:
            return got


def check(url, count):
    peer, until = Peer(CONTEXT, zmq.DEALER, url), time.monotonic() + 40
    while True:
        consumer = peer.ok("ADM", op="consumers", consumer="greeter")["consumers"][0]
        if sum(p["pending"] for p in consumer["positions"]) == 0:
            break
        if time.monotonic() > until:
            sys.exit(f"the node did not work everything off: {consumer}")
        peer.socket.poll(50)
    log = read(peer)
    said = collections.Counter(id_ for topic, id_, _ in log if topic == "hello.said" and id_.startswith("demo-"))
    answers = collections.Counter(cause for topic, _, cause in log if topic == "hello.answered" and cause.startswith("demo-"))
    wanted = {f"demo-{i}" for i in range(1, count + 1)}
    lost, twice = wanted - set(said), [i for i, times in said.items() if times > 1]
    unanswered, answered_twice = wanted - set(answers), [i for i, times in answers.items() if times > 1]
    print(f"  Of {count:,} acknowledged events {len(wanted & set(said)):,} are in the log and {len(wanted & set(answers)):,} were "
          f"answered:\n  {len(lost)} lost, {len(twice)} stored twice, {len(unanswered)} unanswered, {len(answered_twice)} answered twice.")
    if lost or twice or unanswered or answered_twice:
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        check(sys.argv[2], int(sys.argv[3]))
    CONTEXT.destroy(0)
