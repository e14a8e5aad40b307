# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL 15 server of a test's own: a scratch folder, a free loopback port and a unix socket, fsync on.

    server = Postgres()                      # makes the cluster and starts it
    server.url                              # postgresql://tester:...@127.0.0.1:PORT/postgres
    server.query("SELECT 1")                # -> [["1"]], through psql
    server.kill(); server.start()           # as kill -9 of the whole server leaves it
    server.stop(); server.close()           # close also removes the folder; a `with` block does it

PostgreSQL refuses to run as root, so root becomes `postgres`, or else `nobody`. The server ends with the test's process."""
import atexit
import contextlib
import ctypes
import os
import pathlib
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from bus import free_base

BIN = "/usr/lib/postgresql/15/bin"
PATIENCE_S = int(os.environ.get("TEST_PATIENCE_S", "60"))
READY = "is ready to accept connections"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def program(name):
    path = os.path.join(BIN, name)
    path = path if os.path.exists(path) else shutil.which(name)
    if not path:
        raise RuntimeError(f"{name} of PostgreSQL 15 is not installed: deploy/setup test installs it")
    return path


def server_user():
    """Who runs the server: None if that is whoever runs the test."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")


class Postgres:
    def __init__(self):
        # Not in the test's own folder: the server's user may not enter it, and a socket's path must be short.
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="lineshaft-pg-", dir="/tmp"))
        self.user = server_user()
        self.password = secrets.token_hex(8)
        self.port = free_base()
        self.process = None
        self.said = []
        atexit.register(self.close)
        password = self.root / "password"
        password.write_text(self.password + "\n")
        for path in (self.root, password) if self.user else ():
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        self._initdb(password)
        self.start()

    @property
    def url(self):
        return self.url_of("postgres")

    def url_of(self, database):
        return f"postgresql://tester:{self.password}@127.0.0.1:{self.port}/{database}"

    def _spawn(self, name, *args):
        ids = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(self.root)}
        for key in [key for key in environment if key.startswith("PG")]:
            del environment[key]
        return subprocess.Popen([program(name), "-D", str(self.root / "data"), *args], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", env=environment,
                                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), **ids)

    def _initdb(self, password):
        process = self._spawn("initdb", "-U", "tester", "-A", "scram-sha-256", f"--pwfile={password}", "--encoding=UTF8",
                              "--locale=C", "--no-sync")
        out, _ = process.communicate(timeout=PATIENCE_S)
        if process.returncode:
            raise RuntimeError(f"initdb failed:\n{out}")

    def _listen(self, process, ready):
        for line in process.stdout:
            self.said.append(line.rstrip("\n"))
            if READY in line:
                ready.set()
        ready.set()

    def start(self):
        """Starts it and returns when it takes connections."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.process:
            ready = threading.Event()
            process = self._spawn("postgres", "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.root),
                                  "-c", "fsync=on")
            threading.Thread(target=self._listen, args=(process, ready), daemon=True).start()
            if ready.wait(max(0, deadline - time.monotonic())) and any(READY in line for line in self.said):
                self.process = process
                break
            # After kill -9 the last of the old processes may still hold the memory that they share.
            process.kill()
            process.wait()
            if time.monotonic() >= deadline:
                raise RuntimeError("PostgreSQL did not start:\n" + "\n".join(self.said[-20:]))
        return self

    def _end(self, number):
        process, self.process = self.process, None
        if process:
            process.send_signal(number)
            process.wait(PATIENCE_S)
            self.said = []

    def stop(self):
        """Ends its connections, writes what there is, and stops."""
        self._end(signal.SIGINT)

    def kill(self):
        """kill -9 of the server and of every process of it, as when the machine loses power."""
        if self.process:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            watched = []
            for pid in map(int, children):
                try:
                    watched.append((pid, os.pidfd_open(pid)))
                except ProcessLookupError:
                    pass
            self.process.send_signal(signal.SIGSTOP)  # else it would start its processes again
            for _, fd in watched:
                with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            self._end(signal.SIGKILL)
            for pid, fd in watched:
                select.select([fd], [], [], PATIENCE_S)
                os.close(fd)

    def query(self, sql, database="postgres"):
        """The rows of an answer, as lists of texts."""
        out = subprocess.run([program("psql"), "-X", "-q", "-A", "-t", "-F", "\x1f", "-R", "\x1e", "-v", "ON_ERROR_STOP=1",
                              "-c", sql, self.url_of(database)], capture_output=True, text=True, timeout=PATIENCE_S)
        if out.returncode:
            raise RuntimeError(out.stderr.strip())
        text = out.stdout.rstrip("\n")
        return [row.split("\x1f") for row in text.split("\x1e")] if text else []

    def close(self):
        atexit.unregister(self.close)
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
