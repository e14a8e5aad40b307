# SPDX-License-Identifier: Apache-2.0
"""tests/nodes/objstore_peer.c for tests: nodes/kit/objstore at the command line, one process an operation.

    s3 = Store(f"s3://{bucket}", environment)
    s3.put("a/b", file)["sha256"]        # Failed if it failed
    run = s3.start("put", "a/b", file, die_at=3)      # a Run: .lines, .wait(), .kill()"""
import json
import os
import subprocess
import sys
import threading

from bus import PATIENCE_S, die_with_parent

PEER = os.path.join(os.environ.get("LINESHAFT_BUILD", "build"), "tests/nodes/objstore_peer")
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MLFLOW_"))}


class Failed(Exception):
    def __init__(self, error):
        super().__init__(f"{error['name']}: {error['text']}")
        self.name, self.text, self.again = error["name"], error["text"], error["again"]


class Run:
    """A peer at work."""

    def __init__(self, words, environment):
        self.process = subprocess.Popen([PEER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=die_with_parent, env={**CLEAN, "HOME": "/nonexistent", **environment})
        self.lines, self.changed, self.log = [], threading.Condition(), ""
        self.readers = [threading.Thread(target=self.read, daemon=True), threading.Thread(target=self.read_log, daemon=True)]
        for reader in self.readers:
            reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(json.loads(line))
                self.changed.notify_all()

    def read_log(self):
        for line in self.process.stderr:
            print(line, end="", file=sys.stderr)
            with self.changed:
                self.log += line
                self.changed.notify_all()

    def until_log(self, word):
        with self.changed:
            assert self.changed.wait_for(lambda: word in self.log, PATIENCE_S), f"no {word}: {self.log}"

    def of(self, what):
        return [line for line in self.lines if line["what"] == what]

    def until(self, what, count=1):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(what)) >= count, PATIENCE_S), f"no {what}: {self.lines}"

    def wait(self, patience=PATIENCE_S):
        """The lines, when it has ended. Negative returncode: a signal."""
        self.process.wait(patience)
        for reader in self.readers:
            reader.join(patience)
        return self.lines

    def kill(self):
        self.process.kill()
        self.wait()


class Store:
    def __init__(self, url, environment):
        self.url, self.environment = url, environment

    def start(self, command, *words, **options):
        values = [f"{k}={int(v) if isinstance(v, bool) else v}" for k, v in options.items()]
        return Run([self.url, command, *map(str, words), *values], self.environment)

    def run(self, command, *words, patience=PATIENCE_S, **options):
        run = self.start(command, *words, **options)
        run.wait(patience)
        for error in run.of("error"):
            raise Failed(error)
        assert run.process.returncode == 0, run.log
        return run

    def put(self, key, file, **options):
        return self.run("put", key, file, **options).of("stored")[0]

    def get(self, key, file, **options):
        found = self.run("get", key, file, **options).of("found")[0]
        with open(file, "rb") as f:
            return found, f.read()

    def stat(self, key):
        return self.run("stat", key).of("found")[0]

    def delete(self, key):
        self.run("delete", key)

    def list(self, prefix="", **options):
        """Names in the order in which they came, and whether there are more."""
        run = self.run("list", prefix, **options)
        return [line["key"] for line in run.lines if line["what"] in ("entry", "folder")], run.of("listed")[0]["more"]

    def list_all(self, prefix="", **options):
        names, more = self.list(prefix, **options)
        while more:
            page, more = self.list(prefix, after=names[-1], **options)
            names += page
        return names
