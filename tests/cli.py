# SPDX-License-Identifier: Apache-2.0
"""Running lineshaft's commands in tests: to their end, in the background line by line, and on a terminal."""
import collections
import json
import os
import pty
import queue
import signal
import subprocess
import threading
import time

from bus import LINESHAFT, PATIENCE_S, die_with_parent

Result = collections.namedtuple("Result", "status out err")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def environment(url=None, **env):
    plain = {k: v for k, v in os.environ.items() if k not in ("LINESHAFT_URL", "NO_COLOR")}
    return {**plain, **({"LINESHAFT_URL": url} if url else {}), **env}


def run(*args, url=None, stdin="", cwd=None, **env):
    """A command to its end: exit status, standard output, standard error."""
    done = subprocess.run([LINESHAFT, *map(str, args)], input=stdin.encode() if isinstance(stdin, str) else stdin, capture_output=True,
                          env=environment(url, **env), cwd=cwd, timeout=PATIENCE_S * 2)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def ok(*args, **how):
    """The standard output of a command that must end well."""
    result = run(*args, **how)
    assert result.status == 0, result
    return result.out


def wait_until(condition, what):
    """For what can only be looked at again and again, such as the processes of others."""
    until, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < until, f"still not {what}"
        pause.wait(0.01)


def objects(text):
    """One JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]


class Background:
    """A command in the background; wait_for reads its lines (both streams in one) until one holds a text."""

    def __init__(self, *args, url=None, cwd=None, stdin=subprocess.DEVNULL, **env):
        self.process = subprocess.Popen([LINESHAFT, *map(str, args)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=environment(url, **env), cwd=cwd, preexec_fn=die_with_parent, text=True, errors="replace")
        self.lines, self.seen = queue.Queue(), []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait_for(self, text, count=1):
        """The next line that holds `text` (the count-th such)."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {text!r} came; these did:\n" + "\n".join(self.seen[-60:])) from None
            if line is None:
                raise AssertionError(f"it ended without a line with {text!r}:\n" + "\n".join(self.seen[-60:]))
            self.seen.append(line)
            if text in line:
                count -= 1
                if count == 0:
                    return line

    def saw(self, text):
        """The first line that holds `text`, already seen or still to come."""
        return next((line for line in self.seen if text in line), None) or self.wait_for(text)

    def end(self, sig=None):
        """The exit status, after a signal if one is given; all lines are in `seen` then."""
        if sig:
            self.process.send_signal(sig)
        status = self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        while not self.lines.empty():
            line = self.lines.get()
            if line is not None:
                self.seen.append(line)
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def on_terminal(*args, url=None, columns=80, **env):
    """A command to its end with standard output on a terminal of so many columns: exit status and what it wrote."""
    import fcntl
    import struct
    import termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([LINESHAFT, *map(str, args)], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL,
                               env=environment(url, **{"TERM": "xterm", **env}), preexec_fn=die_with_parent)
    os.close(slave)
    text = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        text += piece
    os.close(master)
    return process.wait(PATIENCE_S), text.decode()
