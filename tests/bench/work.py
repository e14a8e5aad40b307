#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The work bench: workflows beside a bare spawn of the same processes, and tracking beside the same SQL from a bare libpq loop. Floor
and product take turns within each round, so that noise meets both alike. docs/benchmarks.md says how to read it."""
import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
sys.path.insert(0, HERE)

import zmq  # noqa: E402

import bus  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from postgres import Postgres  # noqa: E402

DOCUMENT = os.path.normpath(os.path.join(HERE, "..", "..", "docs", "benchmarks.md"))
MARKS = "<!-- bench-work: begin (written by `make bench`, not by hand) -->", "<!-- bench-work: end -->"
WORKFLOWS, TASKS = 100, 10
SLOTS = 2
PATIENCE_S = 120
TOPOLOGY = """
lineshaft: 1
name: bench
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}
streams:
  events: {{ topics: [">"] }}
nodes:
  door:  {{ kind: ingress, listen: "127.0.0.1:{http}" }}
  clock: {{ kind: scheduler, database: "{scheduler}", workflows: [workflows], max_active_tasks: 1000 }}
  hands: {{ kind: runner, slots: {slots}, dir: runner, log_events: none }}
  track: {{ kind: tracker, database: "{tracker}" }}
"""
KINDS = {"event": "event: bench.done, data: {{}}", "process": "command: [/bin/true]"}


def workflow(name, kind):
    tasks = [f"  - {{ id: t{i}, {KINDS[kind].format()}{f', depends_on: [t{i - 1}]' if i else ''} }}" for i in range(TASKS)]
    return f"id: {name}\nmax_active_tasks: 1000\ntasks:\n" + "\n".join(tasks) + "\n"


class Stage:
    """lineshaft up with its nodes on one kind of database."""

    def __init__(self, args, folder, databases):
        self.folder, self.base, self.port = folder, bus.free_base(), bus.free_base()
        os.makedirs(os.path.join(folder, "workflows"))
        for kind in KINDS:
            for i in range(WORKFLOWS):
                self.write(f"workflows/{kind}-{i}.yaml", workflow(f"{kind}-{i}", kind))
        self.write("bench.yaml", TOPOLOGY.format(port=self.base, http=self.port, slots=SLOTS, **databases))
        log = open(os.path.join(folder, "up.log"), "w", encoding="utf-8")
        self.up = subprocess.Popen([os.path.join(args.build, "lineshaft"), "up", "bench.yaml"], cwd=folder, stdout=log, stderr=log,
                                   preexec_fn=servers.die_with_parent)
        self.context = zmq.Context()
        self.peer = bus.Peer(self.context, zmq.DEALER, f"tcp://127.0.0.1:{self.base}")
        self.feed = bus.Peer(self.context, zmq.SUB, f"tcp://127.0.0.1:{self.base + 2}")
        self.feed.socket.subscribe(b"workflow.run.")
        self.rid = 0

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def close(self):
        self.context.destroy(linger=0)
        self.up.send_signal(signal.SIGTERM)
        self.up.wait()

    def hello(self):
        until = time.monotonic() + PATIENCE_S
        self.peer.ok("HELLO", v=1, client="bench")
        while "workflows" not in self.ask("scheduler.list", {}) or self.call("POST", "experiments/search", {"max_results": 1})[0] != 200:
            if time.monotonic() > until or self.up.poll() is not None:
                with open(os.path.join(self.folder, "up.log"), encoding="utf-8") as file:
                    raise SystemExit("bench: lineshaft is not ready:\n" + file.read()[-3000:])
            time.sleep(0.1)

    def ask(self, topic, body):
        """The answer of a bus request; {} for an error."""
        self.rid += 1
        self.peer.send("REQ", {"rid": self.rid, "topic": topic, "timeout_ms": 30000}, json.dumps(body).encode())
        while True:
            answer = self.peer.recv(PATIENCE_S)
            if answer.head.get("rid") != self.rid:
                continue
            if answer.verb == "ERR":
                return {}
            if answer.verb == "REP":
                body = answer.frames[0]
                return json.loads(body) if body[:1] == b"{" else bus.unpack(body)

    def call(self, method, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, "/api/2.0/mlflow/" + path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        except OSError:
            return 0, {}
        finally:
            connection.close()


def workflows(stage, kind):
    """All workflows at once; seconds from the first request until the last run's end is on the live feed."""
    mark, feed = uuid.uuid4().hex, stage.feed
    began = time.monotonic()
    for i in range(WORKFLOWS):
        if "workflow" not in stage.ask("scheduler.run", {"workflow": f"{kind}-{i}", "workflow_run_id": mark}):
            raise SystemExit(f"bench: the run of {kind}-{i} was refused")
    done = 0
    while done < WORKFLOWS:
        topic, *_, body = feed.recv_frames(PATIENCE_S)
        told = json.loads(body) if body[:1] == b"{" else bus.unpack(body)
        if told.get("workflow_run_id") != mark:
            continue
        if topic == b"workflow.run.failed":
            raise SystemExit(f"bench: a run failed: {told}")
        done += topic == b"workflow.run.succeeded"
    took = time.monotonic() - began
    return {"seconds": took, "rate": WORKFLOWS * TASKS / took}


def spawn(args):
    done = subprocess.run([os.path.join(args.build, "tests", "bench", "spawn_bench"), str(WORKFLOWS * TASKS), str(SLOTS), "/bin/true"],
                          capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return json.loads(done.stdout)


# ---- tracking ----

METRICS = 1000


def track(stage, count, batches):
    """Requests over one kept connection: log-metric one by one, then log-batch of METRICS."""
    run = stage.call("POST", "runs/create", {"experiment_id": "0", "start_time": 1})[1]["run"]["info"]["run_id"]
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=PATIENCE_S)

    def post(path, body):
        connection.request("POST", "/api/2.0/mlflow/" + path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"bench: {path} was answered {response.status}: {answer[:300]}")

    began = time.monotonic()
    for i in range(count):
        post("runs/log-metric", {"run_id": run, "key": f"m{i % 10}", "value": i, "timestamp": i, "step": i})
    single = count / (time.monotonic() - began)
    began = time.monotonic()
    for batch in range(batches):
        values = [{"key": f"b{i % 10}", "value": i, "timestamp": batch, "step": batch * METRICS + i} for i in range(METRICS)]
        post("runs/log-batch", {"run_id": run, "metrics": values})
    whole = batches * METRICS / (time.monotonic() - began)
    connection.close()
    return {"single": single, "batch": whole}


def bare_sql(args, url, count, batches):
    done = subprocess.run([os.path.join(args.build, "tests", "bench", "sql_bench"), url, str(count), str(batches), str(METRICS)],
                          capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        raise SystemExit(f"bench: sql_bench: {done.stderr.strip()}")
    return json.loads(done.stdout)


# ---- rounds ----

def measure(args, scratch, name, databases, sql_url):
    rounds, count, batches = (2, 300, 10) if args.short else (5, 1000, 30)
    stage = Stage(args, os.path.join(scratch, name), databases)
    result = {"database": name, "rounds": []}
    try:
        stage.hello()
        for turn in range(rounds):
            print(f"\r\033[Kwork on {name}: round {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)
            one = {"spawn": spawn(args), "event": workflows(stage, "event"), "process": workflows(stage, "process"),
                   "track": track(stage, count, batches)}
            if sql_url:
                one["sql"] = bare_sql(args, sql_url, count, batches)
            result["rounds"].append(one)
        print("\r\033[K", end="", file=sys.stderr)
    finally:
        stage.close()
    return result


def median(result, value):
    return statistics.median(value(one) for one in result["rounds"])


def rows(result):
    out = [["", "tasks/s", "beside the bare spawn", "seconds for 1,000 tasks"]]
    for one in result["work"]:
        out.append([f"bare spawn, {SLOTS} at a time", f"{median(one, lambda r: r['spawn']['rate']):.0f}", "1.00",
                    f"{median(one, lambda r: r['spawn']['seconds']):.2f}"])
        for kind in KINDS:
            rate, ratio = median(one, lambda r: r[kind]["rate"]), median(one, lambda r: r[kind]["rate"] / r["spawn"]["rate"])
            seconds = median(one, lambda r: r[kind]["seconds"])
            out.append([f"{kind} tasks, {one['database']}", f"{rate:.0f}", f"{ratio:.2f}", f"{seconds:.2f}"])
    return out


def track_rows(result):
    out = [["", "log-metric, requests/s", f"log-batch of {METRICS}, metrics/s", "ratios"]]
    for one in result["work"]:
        ratios = ""
        if "sql" in one["rounds"][0]:
            out.append([f"bare loop, {one['database']}", f"{median(one, lambda r: r['sql']['single']):.0f}",
                        f"{median(one, lambda r: r['sql']['batch']):.0f}", "1.00, 1.00"])
            ratios = ", ".join(f"{median(one, lambda r: r['track'][key] / r['sql'][key]):.2f}" for key in ("single", "batch"))
        out.append([f"tracker over HTTP and bus, {one['database']}", f"{median(one, lambda r: r['track']['single']):.0f}",
                    f"{median(one, lambda r: r['track']['batch']):.0f}", ratios])
    return out


def text_table(table):
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths)))
                     for row in table)


def markdown_table(table):
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "| --- |" + " ---: |" * (len(table[0]) - 1))
    return "\n".join(lines)


def markdown(result):
    known = result["machine"]
    head = (f"Measured {result['date']} by `{result['command']}`, {len(result['work'][0]['rounds'])} rounds; load average "
            f"{known['load_before']} before, {known['load_after']} after.")
    return "\n\n".join([head, markdown_table(rows(result)), markdown_table(track_rows(result))])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--short", action="store_true", help="about a minute; more noise")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE (- for standard output)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    scratch = tempfile.mkdtemp(prefix="bench-work-", dir=args.build)
    server = Postgres()
    try:
        machine.require_disk(scratch)
        facts = {"load_before": machine.load()}
        result = {"date": time.strftime("%Y-%m-%d"), "command": "make bench" + (" (short)" if args.short else ""), "machine": facts}
        result["work"] = [measure(args, scratch, "SQLite", {"scheduler": "sqlite:scheduler.db", "tracker": "sqlite:tracker.db"}, None),
                          measure(args, scratch, "PostgreSQL", {"scheduler": server.url, "tracker": server.url}, server.url)]
        facts.update(machine.facts_after())
    finally:
        server.close()
        shutil.rmtree(scratch, ignore_errors=True)
    print(text_table(rows(result)) + "\n\n" + text_table(track_rows(result)))
    if args.json:
        with (sys.stdout if args.json == "-" else open(args.json, "w", encoding="utf-8")) as file:
            json.dump(result, file, indent=1)
    if args.write:
        report.write_between(DOCUMENT, MARKS, markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
