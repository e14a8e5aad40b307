#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A W&B server for tests: GraphQL and file_stream on loopback, strict about what clients must keep to.

    tests/mock/wandb.py [--port 0] [--key KEY] [--entity acme]        prints its address first

In Python (with this folder on sys.path):

    with wandb.Server() as server:             # server.url, server.key
        server.fault("status", status=429, at="file_stream", count=3, headers={"Retry-After": "0"})
        ...
        server.run("ls3k9x2a").history()       # rows without _timestamp, _runtime, _wandb
        assert server.failures == []           # what a client did wrong

The same over HTTP, without authentication: GET /control/state; POST /control/fault, /clear, /log, /stop, /delete, /hide, /show,
/release with the arguments of the methods as a JSON object. A broken rule is answered 400 and recorded in `failures`.
"""
import argparse
import base64
import collections
import datetime
import json
import re
import socket
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wandb_graphql import Answer, Document, SyntaxProblem

KEY = "0123456789abcdef0123456789abcdef01234567"
BODY_MAX, LINE_MAX = 10 << 20, (10 << 20) - (100 << 10)
HISTORY, EVENTS, SUMMARY, OUTPUT = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"
JSON_FILES, APPENDED = (HISTORY, EVENTS, SUMMARY), (HISTORY, EVENTS)
STREAM_KEYS = {"files", "uploaded", "preempting", "complete", "exitcode", "dropped", "failed"}
CLIENTS_OWN = ("_timestamp", "_runtime", "_wandb")  # differ from client to client
TOLD = ("entity", "project", "name", "display_name", "notes", "group", "job_type", "tags", "exitcode", "complete", "state", "posts",
        "heartbeats", "upserts", "uploaded")
FAULTS = ("status", "errors", "reset-before", "reset-after", "cut", "slow", "hold")


class Broken(Exception):
    """A rule that the client broke."""


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def plain(row):
    return {key: value for key, value in row.items() if key not in CLIENTS_OWN}


def strict_json(text):
    def refuse(token):
        raise Broken(f"{token} in the body itself: it may stand in a line only")
    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError as error:
        raise Broken(f"the body is not JSON: {error}") from None


def line_json(text, where):
    try:
        value = json.loads(text)
    except (TypeError, ValueError) as error:
        raise Broken(f"{where} is not JSON: {error}") from None
    if "\n" in text or len(text.encode()) > LINE_MAX:
        raise Broken(f"{where} is too long, or more than one line")
    if not isinstance(value, dict):
        raise Broken(f"{where} is not an object: {text[:80]}")
    return value


def told(value):
    """As the service tells a value: NaN and infinities are words."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return [told(item) for item in value] if isinstance(value, list) else value


def now_text():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Run:
    def __init__(self, entity, project, name):
        self.entity, self.project, self.name = entity, project, name
        self.id = base64.b64encode(f"Run:v1:{name}:{project}:{entity}".encode()).decode()
        self.display_name, self.notes, self.group, self.job_type = name, None, None, None
        self.tags, self.config, self.upserts = [], {}, 0
        self.files = collections.defaultdict(dict)  # file -> line number -> text
        self.hidden = set()                          # lines that reading back does not find yet
        self.uploaded, self.exitcode, self.complete, self.preempting = [], None, False, False
        self.posts, self.heartbeats, self.stopped = 0, 0, False
        self.created_at = self.heartbeat_at = now_text()
        self.state = "running"

    def rows(self):
        """History as it was sent, line by line."""
        return [json.loads(self.files[HISTORY][line]) for line in sorted(self.files[HISTORY])]

    def history(self):
        return [plain(row) for row in self.rows()]

    def summary(self):
        return json.loads(self.files[SUMMARY].get(0, "{}"))

    def settings(self):
        """The config as a user knows it."""
        return {key: value["value"] for key, value in self.config.items() if key != "_wandb"}

    def found(self):
        """What reading back finds."""
        return [json.loads(text) for line, text in sorted(self.files[HISTORY].items()) if line not in self.hidden]

    def write(self, file, offset, lines):
        if not isinstance(offset, int) or offset < 0 or not isinstance(lines, list):
            raise Broken(f"{file}: offset or content are missing")
        have = self.files[file]
        if file in APPENDED and offset > len(have):
            raise Broken(f"{file}: offset {offset} leaves a gap behind line {len(have)}")
        for number, text in enumerate(lines, offset):
            where = f"{file} line {number}"
            row = line_json(text, where) if file in JSON_FILES else None
            if file in APPENDED and have.get(number, text) != text:
                raise Broken(f"{where} was {have[number]!r} and is now {text!r}")
            if file == HISTORY:
                self.check_step(row, number, where)
            if file == SUMMARY and number != 0:
                raise Broken(f"{where}: a summary is line 0")
            have[number] = text

    def check_step(self, row, number, where):
        step, before = row.get("_step"), self.files[HISTORY].get(number - 1)
        if not isinstance(step, int) or (before is not None and step <= json.loads(before)["_step"]):
            raise Broken(f"{where}: _step {step} is not above that of the line before: {before}")

    def stream(self, raw):
        """One file_stream request: all of it, or nothing."""
        body = strict_json(raw)
        if not isinstance(body, dict) or set(body) - STREAM_KEYS:
            raise Broken(f"keys that the service does not know: {sorted(set(body) - STREAM_KEYS)}")
        if body.get("complete") and not isinstance(body.get("exitcode"), int):
            raise Broken("complete without exitcode")
        before = {name: dict(lines) for name, lines in self.files.items()}
        try:
            for file, content in (body.get("files") or {}).items():
                self.write(file, content.get("offset"), content.get("content"))
            self.check_end(body, before)
        except Broken:
            self.files = collections.defaultdict(dict, before)
            raise
        self.posts += 1
        self.heartbeats += body == {}
        self.heartbeat_at = now_text()
        self.uploaded += body.get("uploaded") or []
        self.preempting = bool(body.get("preempting"))
        if body.get("complete"):
            self.complete, self.exitcode = True, body["exitcode"]
            self.state = "finished" if self.exitcode == 0 else "failed"
        return {"exitcode": None, "limits": {}, **({"stopped": True} if self.stopped else {})}

    def check_end(self, body, before):
        """Behind `complete` only the same again may come, because its answer was lost."""
        if self.complete and (self.files != before or not body.get("complete") or body["exitcode"] != self.exitcode):
            raise Broken(f"run {self.name} is complete, and then came {json.dumps(body)[:200]}")

    def node(self):
        """As GraphQL's Run."""
        history = self.files[HISTORY]
        steps = [row["_step"] for row in self.found()]
        return {
            "__typename": "Run", "id": self.id, "name": self.name, "displayName": self.display_name, "description": self.notes,
            "notes": self.notes, "group": self.group, "groupName": self.group, "jobType": self.job_type, "tags": self.tags,
            "config": json.dumps(told(self.config)), "summaryMetrics": json.dumps(told(self.summary())), "systemMetrics": "{}",
            "state": self.state, "createdAt": self.created_at, "heartbeatAt": self.heartbeat_at, "updatedAt": self.heartbeat_at,
            "historyLineCount": len(history), "eventsLineCount": len(self.files[EVENTS]), "logLineCount": len(self.files[OUTPUT]),
            "historyTail": json.dumps([history[max(history)]] if history else []), "eventsTail": "[]", "stopped": self.stopped,
            "historyKeys": {"keys": {key: {} for row in self.found() for key in row}, "lastStep": max(steps, default=-1)},
            "user": {"id": "u", "name": "u", "username": "u"}, "sweepName": None, "commit": None, "readOnly": False,
            "wandbConfig": json.dumps({"t": self.config.get("_wandb", {}).get("value", {}).get("t")}),
            "project": {"id": "p", "name": self.project, "entity": {"id": "e", "name": self.entity}}, "projectId": "p",
            "history": self.read_history, "sampledHistory": self.read_sampled, "events": lambda _: [],
        }

    def read_history(self, arguments):
        """history(minStep, maxStep, samples): JSON texts; maxStep is not among them."""
        least, end = int(arguments.get("minStep") or 0), arguments.get("maxStep")
        rows = [row for row in self.found() if least <= row["_step"] and (end is None or row["_step"] < int(end))]
        return [json.dumps(told(row)) for row in sampled(rows, arguments.get("samples") or 500)]

    def read_sampled(self, arguments):
        """sampledHistory(specs): objects with all of the keys; maxStep is among them."""
        out = []
        for spec in map(json.loads, arguments["specs"]):
            keys, least, last = spec["keys"], spec.get("minStep", 0), spec.get("maxStep", 1 << 62)
            rows = [row for row in self.found() if least <= row["_step"] <= last and all(key in row for key in keys)]
            out.append([{key: told(row[key]) for key in keys} for row in sampled(rows, spec.get("samples", 500))])
        return out


def sampled(rows, count):
    return rows if len(rows) <= count else [rows[i * len(rows) // count] for i in range(count)]


def matches(node, wanted):
    """A filter in Mongo's manner, as far as tests need it."""
    compare = {"$gt": lambda a, b: a > b, "$gte": lambda a, b: a >= b, "$lt": lambda a, b: a < b, "$lte": lambda a, b: a <= b,
               "$eq": lambda a, b: a == b, "$ne": lambda a, b: a != b, "$in": lambda a, b: a in b}
    for key, value in wanted.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(matches(node, part) for part in value):
                return False
            continue
        have = node.get(re.sub(r"_(.)", lambda found: found.group(1).upper(), key))
        tests = value if isinstance(value, dict) else {"$eq": value}
        if have is None or not all(compare[word](have, to) for word, to in tests.items()):
            return False
    return True


def introspect(arguments):
    """What old clients look for in the schema."""
    fields = ["createRunFiles"] if arguments.get("name") == "Mutation" else []
    return {"name": arguments.get("name"), "fields": [{"name": name} for name in fields], "inputFields": []}


class Server:
    def __init__(self, key=KEY, entity="acme", port=0):
        self.key, self.entity, self.lock, self.released = key, entity, threading.RLock(), threading.Event()
        self.runs, self.deleted, self.faults, self.failures = {}, set(), [], []
        self.requests = []  # (what, operation or run, status), status 0: no answer
        self.puts = {}      # path of an upload -> bytes
        self.headers = {}   # of every answer, such as RateLimit-Remaining
        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.http.request_queue_size, self.http.daemon_threads, self.http.block_on_close = 512, True, False
        self.http.allow_reuse_address, self.http.wandb = True, self
        self.http.server_bind()
        self.http.server_activate()
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    # ---- what a test looks at and turns

    def run(self, name, project=None, entity=None):
        """The run of that name; KeyError if there is none."""
        with self.lock:
            for run in self.runs.values():
                if run.name == name and project in (None, run.project) and entity in (None, run.entity):
                    return run
        raise KeyError(name)

    def count(self, what, status=None):
        with self.lock:
            return sum(1 for kind, _, code in self.requests if kind == what and status in (None, code))

    def fault(self, kind, at=None, count=1, skip=0, run=None, operation=None, status=500, message="told so", headers=None, seconds=0.2):
        """The next `count` requests (None: all, until clear) behind `skip` others fail: kind is status | errors (GraphQL: 200 with
        errors) | reset-before | reset-after (it is done, the answer is lost) | cut (reset in the middle of the body) | slow (by so many
        seconds) | hold (until release). `at`: graphql | file_stream | put; narrower by run or operation."""
        if kind not in FAULTS:
            raise ValueError(f"faults are {', '.join(FAULTS)}")
        with self.lock:
            self.faults.append({"kind": kind, "at": at, "count": count, "skip": skip, "run": run, "operation": operation,
                                "status": status, "message": message, "headers": headers or {}, "seconds": seconds})

    def clear(self):
        with self.lock:
            self.faults.clear()
        self.release()

    def release(self):
        self.released.set()
        self.released = threading.Event()

    def stop(self, name):
        """The user presses Stop in the browser."""
        self.run(name).stopped = True

    def delete(self, name):
        with self.lock:
            run = self.run(name)
            del self.runs[run.entity, run.project, run.name]
            self.deleted.add((run.entity, run.project, run.name))

    def log(self, name, rows, project="demo", entity=None, config=None, state=None):
        """Somebody else's run: rows are added behind those that it has. _step counts on unless a row tells it."""
        with self.lock:
            run = self.runs.setdefault((entity or self.entity, project, name), Run(entity or self.entity, project, name))
            for row in rows:
                line = len(run.files[HISTORY])
                last = json.loads(run.files[HISTORY][line - 1])["_step"] if line else -1
                run.files[HISTORY][line] = json.dumps({"_timestamp": time.time(), "_runtime": float(line), "_step": last + 1, **row})
            run.config.update({key: {"value": value} for key, value in (config or {}).items()})
            run.heartbeat_at, run.state = now_text(), state or run.state
            return run

    def hide(self, name, lines):
        """The service has not counted these lines yet; show: it has."""
        self.run(name).hidden |= set(lines)

    def show(self, name):
        self.run(name).hidden.clear()

    def state(self):
        with self.lock:
            runs = [{**{key: getattr(run, key) for key in TOLD},
                     "config": told(run.config), "summary": told(run.summary()), "files": run.files, "history": told(run.history())}
                    for run in self.runs.values()]
            return {"runs": runs, "failures": self.failures, "requests": self.requests, "puts": sorted(self.puts), "faults": self.faults}

    # ---- what clients ask

    def take_fault(self, at, run, operation):
        with self.lock:
            for fault in self.faults:
                if fault["at"] not in (None, at) or fault["run"] not in (None, run) or fault["operation"] not in (None, operation):
                    continue
                if fault["skip"] > 0:
                    fault["skip"] -= 1
                    continue
                if fault["count"] is not None:
                    fault["count"] -= 1
                    if fault["count"] <= 0:
                        self.faults.remove(fault)
                return fault
        return None

    def find(self, entity, project, name):
        return self.runs.get((entity or self.entity, project, name))

    def graphql(self, document, variables):
        root = {"viewer": {"id": "u", "entity": self.entity, "username": "u", "email": "e", "admin": False, "flags": "{}",
                           "teams": {"edges": []}},
                "serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None},
                "upsertBucket": self.upsert, "createRunFiles": self.create_files, "model": self.project, "project": self.project,
                "__type": introspect, "__schema": None}
        return {"data": Answer(document, variables, root).data}

    def upsert(self, arguments):
        given = arguments["input"]
        run = next((run for run in self.runs.values() if given.get("id") == run.id), None)
        where = (given.get("entityName") or self.entity, given.get("modelName") or "uncategorized",
                 given.get("name") or f"r{len(self.runs):07}")
        self.check_names(where[1], where[2], given.get("tags") or [])
        run = run or self.runs.get(where)
        if run is None and where in self.deleted:
            raise Refused(409, f"Duplicate entry '{where[2]}' for key 'PRIMARY'")
        inserted = run is None
        if inserted:
            run = self.runs[where] = Run(*where)
        for field, name in (("displayName", "display_name"), ("notes", "notes"), ("groupName", "group"), ("jobType", "job_type"),
                            ("tags", "tags")):
            if given.get(field) is not None:
                setattr(run, name, given[field])
        if given.get("config") is not None:
            run.config = line_json(given["config"], "config")
            if any(not isinstance(value, dict) or "value" not in value for value in run.config.values()):
                raise Broken(f'config: every value stands in {{"value": ...}}: {given["config"][:200]}')
        if given.get("summaryMetrics") is not None:
            run.files[SUMMARY][0] = given["summaryMetrics"]
        run.upserts, run.heartbeat_at, run.complete, run.state = run.upserts + 1, now_text(), False, "running"
        return {"bucket": run.node(), "inserted": inserted}

    def check_names(self, project, name, tags):
        if len(project) > 128 or re.search(r"[/\\#?%:]", project):
            raise Broken(f"project {project!r} is not a name")
        if not name or name != name.strip() or re.search(r"[:;,#?/']", name):
            raise Broken(f"run {name!r} is not an id")
        if any(not 1 <= len(tag) <= 64 for tag in tags):
            raise Broken(f"tags of 1 to 64 characters: {tags}")

    def create_files(self, arguments):
        given = arguments["input"]
        run = self.find(given.get("entityName"), given["projectName"], given["runName"])
        if run is None:
            raise Refused(404, "run not found")
        base = f"{self.url}/upload/{'/'.join(urllib.parse.quote(part, '') for part in (run.entity, run.project, run.name))}/"
        return {"runID": run.id, "uploadHeaders": [],
                "files": [{"name": name, "uploadUrl": base + urllib.parse.quote(name)} for name in given["files"]]}

    def project(self, arguments):
        entity, name = arguments.get("entityName") or self.entity, arguments.get("name")
        runs = [run for run in self.runs.values() if (run.entity, run.project) == (entity, name)]
        if not runs:
            return None

        def one(arguments):
            run = self.find(entity, name, arguments.get("name"))
            return run.node() if run else None

        return {"id": "p", "name": name, "entity": {"id": "e", "name": entity}, "run": one, "bucket": one, "runCount": len(runs),
                "runs": lambda arguments: self.list_runs(runs, arguments), "readOnly": False}

    def list_runs(self, runs, arguments):
        order = arguments.get("order") or "+created_at"
        key = {"created_at": "createdAt", "heartbeat_at": "heartbeatAt", "updated_at": "updatedAt", "name": "name"}[order.lstrip("+-")]
        wanted = json.loads(arguments.get("filters") or "{}")
        nodes = sorted((node for node in (run.node() for run in runs) if matches(node, wanted)), key=lambda node: node[key],
                       reverse=order.startswith("-"))
        first, after = arguments.get("first") or 50, int(arguments.get("after") or 0)
        page = nodes[after:after + first]
        edges = [{"node": node, "cursor": str(after + i + 1)} for i, node in enumerate(page)]
        return {"edges": edges, "totalCount": len(nodes),
                "pageInfo": {"endCursor": str(after + len(page)), "hasNextPage": after + len(page) < len(nodes)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    @property
    def wandb(self):
        return self.server.wandb

    def answer(self, status, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in {**self.wandb.headers, **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def reset(self):
        """Ends the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def broken(self, status, rule):
        with self.wandb.lock:
            self.wandb.failures.append(rule)
        return status, {"error": rule}

    def do_GET(self):
        if self.path == "/control/state":
            self.answer(200, self.wandb.state())
        else:
            self.answer(404, {"error": f"nothing at {self.path}"})

    def do_PUT(self):
        self.work("put", None)

    def do_POST(self):
        if self.path.startswith("/control/"):
            return self.control(self.path.removeprefix("/control/"))
        run = re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path)
        if not run and self.path != "/graphql":
            return self.answer(404, {"error": f"nothing at {self.path}"})
        self.work("file_stream" if run else "graphql", [urllib.parse.unquote(part) for part in run.groups()] if run else None)

    def control(self, name):
        arguments = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if name not in ("fault", "clear", "log", "stop", "delete", "hide", "show", "release"):
            return self.answer(404, {"error": f"no control {name}"})
        try:
            getattr(self.wandb, name)(**arguments)
            self.answer(200, {})
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, {"error": repr(error)})

    def work(self, what, run):
        """One request of a client: a fault if one is due, else what it asks; recorded either way."""
        length = int(self.headers.get("Content-Length") or 0)
        if what != "put" and length > BODY_MAX:
            self.close_connection = True
            return self.record(what, run and run[2], *self.broken(413, f"a body of {length} bytes"))
        if self.wandb.faults and self.cut(what, run):
            return None
        try:
            body = self.rfile.read(length)
        except ConnectionError:
            body = b""
        if len(body) < length:  # the client is gone
            self.close_connection = True
            return None
        document, variables, problem = None, None, None
        if what == "graphql":
            try:
                document, variables = self.read_graphql(body)
            except (Broken, SyntaxProblem) as error:
                problem = error
        name = run[2] if run else document and document.name
        fault = self.wandb.take_fault(what, run and run[2], document and document.name) or {"kind": None}
        if fault["kind"] == "slow":
            time.sleep(fault["seconds"])
        elif fault["kind"] == "hold":
            self.wandb.released.wait(60)
        elif fault["kind"] == "reset-before":
            self.requests_add(what, name, 0)
            return self.reset()
        elif fault["kind"] == "status":
            return self.record(what, name, fault["status"], {"error": fault["message"]}, fault["headers"])
        elif fault["kind"] == "errors":
            return self.record(what, name, 200, {"data": None, "errors": [{"message": fault["message"]}]}, fault["headers"])
        status, answer = self.broken(400, str(problem)) if problem else self.do_it(what, run, body, document, variables)
        if fault["kind"] == "reset-after":
            self.requests_add(what, name, 0)
            return self.reset()
        return self.record(what, name, status, answer)

    def cut(self, what, run):
        """A fault `cut`: some of the body is read, then the connection is reset."""
        with self.wandb.lock:
            due = next((fault for fault in self.wandb.faults if fault["kind"] == "cut"), None)
            if due is None or due["at"] not in (None, what) or due["run"] not in (None, run and run[2]):
                return False
            due["count"] -= 1
            if due["count"] <= 0:
                self.wandb.faults.remove(due)
        self.rfile.read(min(10, int(self.headers.get("Content-Length") or 0)))
        self.requests_add(what, run and run[2], 0)
        self.reset()
        return True

    def read_graphql(self, body):
        given = strict_json(body)
        if not isinstance(given, dict) or not isinstance(given.get("query"), str):
            raise Broken(f"GraphQL needs a query: {body[:200]!r}")
        return Document(given["query"]), given.get("variables")

    def do_it(self, what, run, body, document, variables):
        """(status, answer) of a request without a fault."""
        given = self.headers.get("Authorization")
        if what == "put":
            if given:
                return self.broken(400, f"credentials were sent to the upload URL {self.path}")
            with self.wandb.lock:
                self.wandb.puts[urllib.parse.unquote(self.path).removeprefix("/upload/")] = body
            return 200, b""
        if given != "Basic " + base64.b64encode(f"api:{self.wandb.key}".encode()).decode():
            return 401, {"errors": [{"message": "invalid or missing API key"}]}
        if self.headers.get("Content-Encoding"):
            return self.broken(400, f"Content-Encoding {self.headers['Content-Encoding']} was not offered")
        try:
            with self.wandb.lock:
                if what == "graphql":
                    return 200, self.wandb.graphql(document, variables)
                known = self.wandb.find(*run)
                return (200, known.stream(body)) if known else (404, {"error": f"run {'/'.join(run)} not found"})
        except Refused as error:
            return error.status, {"errors": [{"message": str(error)}]}
        except Broken as error:
            return self.broken(400, str(error))

    def requests_add(self, what, name, status):
        with self.wandb.lock:
            self.wandb.requests.append((what, name, status))

    def record(self, what, name, status, answer, headers=None):
        self.requests_add(what, name, status)
        self.answer(status, answer, headers)


def main():
    parser = argparse.ArgumentParser(description="a W&B server for tests, on loopback")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--entity", default="acme")
    given = parser.parse_args()
    server = Server(given.key, given.entity, given.port)
    print(server.url, flush=True)
    try:
        server.thread.join()
    except KeyboardInterrupt:
        server.close()


if __name__ == "__main__":
    main()
