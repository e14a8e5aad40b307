#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rig of the rude tests (rude_*_test.py): the quick start in a folder of its own, started as rudely as it can be met, and looked
at from outside. What the tests prove stands in docs/operations.md. Run alone, it runs them all."""
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent), str(pathlib.Path(__file__).resolve().parent.parent / "nodes")]

from bus import LINESHAFT, ROOT, die_with_parent, free_base
from cli import Background, environment, run, wait_until
from stack import Http

TOPOLOGY = "config/quickstart.yaml"
NODES = ["chat", "model.1", "model.2", "tracking", "files", "clock", "hands", "charts"]  # processes of the quick start, beside the broker
PRIVATE = ("unshare", "--mount", "--propagation", "private")  # what is mounted below is seen by nobody else
SMALL = """lineshaft: 1
name: rude
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}
streams:
  events: {{ topics: [">"], segment: 1MiB }}
nodes:
"""


class Program(Background):
    """A command in the background, as Background has it, but with whatever stands in front of it. A variable that is None is taken away."""

    def __init__(self, *command, cwd=None, url=None, **env):
        plain = {k: v for k, v in {**environment(url), **env}.items() if v is not None}
        self.process = subprocess.Popen([os.fspath(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=cwd,
                                        stderr=subprocess.STDOUT, env=plain, preexec_fn=die_with_parent, text=True,
                                        errors="backslashreplace")
        self.lines, self.seen = queue.Queue(), []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    @property
    def text(self):
        return "\n".join(self.seen)


class Quick(Http):
    """The quick start as a newcomer has it: a folder with config/ in it and ports of its own; var/ comes below it. `lineshaft` may be
    another path to the program; `topology`: nodes, in YAML, instead of those of the quick start. close() ends all that was started."""

    def __init__(self, folder, lineshaft=LINESHAFT, topology=None):
        super().__init__(free_base())
        self.folder, self.lineshaft, self.base, self.run, self.topology = folder, lineshaft, free_base(), None, TOPOLOGY
        shutil.copytree(ROOT / "config", folder / "config")
        if topology:
            (folder / TOPOLOGY).write_text(SMALL.format(port=self.base) + topology)

    @property
    def url(self):
        return f"tcp://127.0.0.1:{self.base}"

    @property
    def env(self):
        return {"LINESHAFT_PORT": str(self.base), "LINESHAFT_HTTP_PORT": str(self.port), "LINESHAFT_DATA": None, "RUDE": str(self.base)}

    def program(self, *before, **env):
        return Program(*before, self.lineshaft, "up", TOPOLOGY, cwd=self.folder, **{**self.env, **env})

    def begin(self, *before, **env):
        """Starts `up`, behind the words of `before`; does not wait for anything."""
        self.run = self.program(*before, **env)
        return self.run

    def up(self, *before, **env):
        self.begin(*before, **env).wait_for("processes are ")
        return self

    def refused(self, *before, **env):
        """`up` that must end with status 1 by itself; what it said."""
        with self.program(*before, **env) as up:
            assert up.end() == 1, up.text
            return up.text

    def lineshaft_(self, *args, **how):
        return run(*args, url=self.url, cwd=self.folder, **how)

    def ok(self, *args, **how):
        result = self.lineshaft_(*args, **how)
        assert result.status == 0, result
        return result.out

    def pid(self, name):
        """Of the process that `up` started last under this name."""
        return int([line for line in self.run.seen if f"| {name}: starting, pid " in line][-1].rsplit(" ", 1)[1])

    def all_pids(self):
        """Every living process that has the mark of this quick start in its environment: `up`, its warden, and all that came of them."""
        return pids_with(f"RUDE={self.base}")

    def gone(self):
        wait_until(lambda: not self.all_pids(), f"gone: {[describe(pid) for pid in self.all_pids()]}")

    def warden(self):
        return next((pid for pid in self.all_pids() if describe(pid) == "lineshaft-warde"), None)

    def works(self):
        """The ways in are open, and a task is run by way of scheduler, runner and tracker's neighbour on the bus."""
        wait_until(self.ready, "ready")
        assert self.ok("pub", "note.made", "{}").startswith("ok events:")
        (self.folder / "config/workflows/rude.yaml").write_text("id: rude\ntasks:\n  - id: a\n    command: [echo, done]\n")
        wait_until(lambda: self.lineshaft_("workflow", "ls").out.count("rude"), "a workflow")
        assert "success" in self.ok("workflow", "run", "rude", "--follow")

    def ready(self):
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def close(self):
        if self.run:
            self.run.close()
        for pid in self.all_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def describe(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def pids_with(entry):
    """Living processes (no zombies: their environment is gone) with this entry in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if entry.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(int(pid))
        except OSError:
            pass
    return found


def may(*command):
    """Whether this machine lets a test do it, such as unshare in a container; for skipif."""
    return subprocess.run(command, capture_output=True).returncode == 0


if __name__ == "__main__":
    tests = sorted(map(str, pathlib.Path(__file__).parent.glob("rude_*_test.py")))
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *sys.argv[1:], *tests])
