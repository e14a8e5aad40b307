# SPDX-License-Identifier: Apache-2.0
"""A scheduler in a stack of its own, on SQLite or PostgreSQL, and a runner played by hand: it claims and reports over HTTP what
docs/nodes/task-run.md says, so that a test can stop the world between any two of its steps."""
import os
import signal
import sqlite3

from cli import wait_until
from stack import Stack

NODES = """
  door: {{{{ kind: ingress, listen: "{{http}}", asks: [] }}}}
  sched: {{{{ kind: scheduler, database: "{url}", workflows: [workflows], lease: 2s,
            {options} restart: {{{{ delay: 10ms, delay_max: 100ms, limit: 1000 }}}} }}}}
{more}
"""


def escape(text):
    return text.replace("{", "{{").replace("}", "}}")


class Scheduler(Stack):
    def __init__(self, folder, postgres=None, workflows=None, options="", more=""):
        self.postgres = postgres
        self.database = f"scheduler_{os.urandom(4).hex()}"
        if postgres:
            postgres.query(f"CREATE DATABASE {self.database}")
        self.workflows = folder / "workflows"
        self.workflows.mkdir(parents=True)
        for name, text in (workflows or {}).items():
            self.write(name, text)
        url = postgres.url_of(self.database) if postgres else "sqlite:scheduler.db"
        self.file = folder / "scheduler.db"
        super().__init__(folder, NODES.format(url=url, options=escape(options + "," if options else ""), more=escape(more)))
        wait_until(lambda: self.get("/api/workflows").status == 200, "a scheduler that answers")

    def write(self, name, text):
        (self.workflows / f".{name}.new").write_text(text)
        os.replace(self.workflows / f".{name}.new", self.workflows / f"{name}.yaml")

    # ---- asking

    def request(self, topic, status=200, **fields):
        """A bus request, again as long as nobody is there to answer it."""
        answer = []

        def there():
            answer[:] = [self.post(f"/api/requests/{topic}", fields)]
            return answer[0].status not in (502, 503, 504)

        wait_until(there, f"an answer to {topic}")
        assert answer[0].status == status, (topic, answer[0].status, answer[0].body)
        return answer[0].json

    def run(self, workflow, **fields):
        return self.request("scheduler.run", workflow=workflow, **fields)["workflow_run_id"]

    def show(self, workflow, run=None):
        return self.request("scheduler.show", workflow=workflow, **({"workflow_run_id": run} if run else {}))

    def states(self, workflow, run=None):
        return {task["task"]: task["state"] for task in self.show(workflow, run)["tasks"]}

    def until(self, workflow, run, state):
        wait_until(lambda: self.show(workflow, run)["state"] == state, f"{workflow}/{run} {state}: {self.states(workflow, run)}")

    def until_task(self, workflow, run, task, state):
        wait_until(lambda: self.states(workflow, run)[task] == state, f"{run}/{task} {state}")

    def why(self, workflow, task, run=None):
        fields = {"workflow_run_id": run} if run else {}
        return self.request("scheduler.explain", workflow=workflow, task=task, **fields)["why"]

    def publish(self, topic, data=None, **attributes):
        answer = self.post("/api/events", {"topic": topic, "data": data if data is not None else {}, **attributes})
        assert answer.status == 200, answer.body
        return answer.json

    # ---- the runner

    def queued(self, run, task, count=1):
        """The count-th task.queued of a task."""
        def found():
            return [e["data"] for e in self.events("task.queued")
                    if (e["data"]["workflow_run_id"], e["data"]["task"]) == (run, task)]

        wait_until(lambda: len(found()) >= count, f"{count} task.queued of {run}/{task}")
        return found()[count - 1]

    def claim(self, attempt, boot="boot-1", runner="hands"):
        return self.request("task.claim", **{"try": attempt["try"]}, runner=runner, boot=boot, host="here")

    def report(self, topic, attempt, **fields):
        keys = ("workflow", "workflow_run_id", "task", "try", "attempt")
        self.publish(topic, {**{key: attempt[key] for key in keys}, "runner": "hands", **fields})

    def started(self, attempt):
        self.report("task.started", attempt, pid=1, host="here", start_time=1790000000000)

    def ended(self, attempt, code=0, **fields):
        self.report("task.ended", attempt, **{"reason": "exit", "exit_code": code, **fields})

    def work(self, run, task, code=0, **fields):
        attempt = self.queued(run, task)
        assert self.claim(attempt)["granted"]
        self.started(attempt)
        self.ended(attempt, code, **fields)

    # ---- killing

    def kill(self, node="sched"):
        """kill -9; `up` starts another."""
        pids = self.pids(node)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.pids(node) and not set(self.pids(node)) & set(pids), "another process")

    # ---- looking into the database

    def rows(self, sql):
        if self.postgres:
            return [tuple(row) for row in self.postgres.query(sql, self.database)]
        with sqlite3.connect(self.file) as db:
            return [tuple("" if value is None else str(value) for value in row) for row in db.execute(sql)]

    def stored(self):
        """{(workflow, run): state} and {(workflow, run, task): state} of the database."""
        schema = "lineshaft." if self.postgres else ""
        runs = self.rows(f"SELECT workflow, run_id, state FROM {schema}lineshaft_workflow_run")
        tasks = self.rows(f"SELECT r.workflow, r.run_id, t.task, t.state FROM {schema}lineshaft_task t "
                          f"JOIN {schema}lineshaft_workflow_run r ON r.id = t.run")
        return {row[:2]: row[2] for row in runs}, {row[:3]: row[3] for row in tasks if row[3] != "none"}

    def rebuilt(self):
        """The same from the events alone. No transition may come twice."""
        runs, tasks, seen = {}, {}, set()
        for event in self.events(">"):
            if not event["topic"].startswith(("workflow.run.", "task.")):
                continue
            assert (event["source"], event["id"]) not in seen, event
            seen.add((event["source"], event["id"]))
            apply(event["topic"], event["data"], runs, tasks)
        return runs, tasks


def apply(topic, data, runs, tasks):
    """What docs/nodes/scheduler.md says about each event, as a transition that must be possible."""
    run = (data["workflow"], data["workflow_run_id"])
    moves = {"workflow.run.created": ((None,), "queued"), "workflow.run.started": (("queued",), "running"),
             "workflow.run.succeeded": (("running",), "success"), "workflow.run.failed": (("running",), "failed"),
             "workflow.run.cancelled": (("queued", "running"), "failed")}
    if topic in moves:
        before, after = moves[topic]
        assert runs.get(run) in before, (topic, data, runs.get(run))
        runs[run] = after
        return
    task = (*run, data.get("task"))
    moves = {"task.scheduled": ((None, "up_for_retry"), "scheduled"), "task.queued": (("scheduled",), "queued"),
             "task.started": (("scheduled", "queued"), "running"), "task.succeeded": (("running", "queued"), "success"),
             "task.failed": ((None, "scheduled", "queued", "running"), "failed"), "task.retrying": (("queued", "running"), "up_for_retry"),
             "task.skipped": ((None, "scheduled", "queued", "up_for_retry"), "skipped"),
             "task.cleared": (("success", "failed", "skipped", "upstream_failed", "up_for_retry"), None)}
    if topic not in moves:
        return
    before, after = moves[topic]
    assert tasks.get(task) in before, (topic, data, tasks.get(task))
    if topic == "task.skipped" and data["reason"] == "upstream_failed":
        after = "upstream_failed"
    if topic == "task.cleared" and runs[run] in ("success", "failed"):
        runs[run] = "queued"
    if after:
        tasks[task] = after
    else:
        del tasks[task]

