# SPDX-License-Identifier: Apache-2.0
"""The servers under test: how each is started on free loopback ports with its data below a scratch folder, watched and ended."""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
HOST = "127.0.0.1"
PORTS = 5  # what the largest server (lineshaft) takes, in a row
RETAIN_BYTES = "128MiB"  # of lineshaft's stream: as much as zmq-gc's file, and both then write into used blocks

TOPOLOGY = """\
lineshaft: 1
name: bench
broker: {{ listen: "tcp://{host}:{port}", data: "{data}" }}
streams:
  events: {{ topics: ["{topic}"], segment: 32MiB, retain: {{ size: {retain} }} }}
"""


def die_with_parent():
    """Between fork and exec: no server outlives this program, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def find_program(name):
    return shutil.which(name, path=SEARCH)


def free_ports():
    """A base port such that it and the PORTS - 1 after it are free."""
    for _ in range(200):
        with socket.socket() as first:
            first.bind((HOST, 0))
            base = first.getsockname()[1]
        taken = []
        try:
            for port in range(base, base + PORTS):
                probe = socket.socket()
                taken.append(probe)
                probe.bind((HOST, port))
            return base
        except OSError:
            continue
        finally:
            for probe in taken:
                probe.close()
    raise SystemExit("bench: no free ports on loopback")


class Unavailable(Exception):
    """A server that this machine does not have; the text goes into its rows."""


def redis_command(port, data, _kind, _build):
    return [program("redis-server"), "--port", str(port), "--bind", HOST, "--dir", data, "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0",
            "--client-output-buffer-limit", "pubsub 0 0 0"]


def nats_command(port, data, _kind, _build):
    return [program("nats-server"), "-a", HOST, "-p", str(port), "-js", "-sd", data]


def zmq_command(port, data, kind, build):
    path = os.path.join(build, "zmq_server")
    return [path, "gc", str(port), os.path.join(data, "log")] if kind == "gc" else [path, "router", str(port)]


def lineshaft_command(port, data, kind, build):
    binary = os.path.join(build, "..", "..", "lineshaft")
    if not os.path.exists(binary):
        raise Unavailable("not built")
    topology = os.path.join(data, "bench.yaml")
    with open(topology, "w", encoding="utf-8") as file:
        file.write(TOPOLOGY.format(host=HOST, port=port, data=os.path.join(data, "bus"), retain=RETAIN_BYTES,
                                   topic="bench.event" if kind == "durable" else "bench.kept"))
    return [binary, "broker", topology]


COMMANDS = {"redis": redis_command, "nats": nats_command, "zmq": zmq_command, "lineshaft": lineshaft_command}


def program(name):
    path = find_program(name)
    if not path:
        raise Unavailable("not installed")
    return path


class Server:
    """One running server. `name` is FAMILY or FAMILY:KIND, for example zmq:gc."""

    def __init__(self, name, scratch, build):
        self.name = name
        self.port = free_ports()
        self.data = os.path.join(scratch, name.replace(":", "-"))
        self.log_path = self.data + ".log"
        self.rss_idle = self.rss_loaded = self.rss_peak = 0
        family, _, kind = name.partition(":")
        os.makedirs(self.data, exist_ok=True)
        argv = COMMANDS[family](self.port, self.data, kind, build)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self):
        """Until the port answers; the first port is the last that each server needs before it is of use."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection((HOST, self.port), 1).close()
                self.rss_idle = self.memory("VmRSS")
                return
            except OSError:
                time.sleep(0.02)
        raise Unavailable("did not start: " + self.last_words())

    def last_words(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            lines = log.read().strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def memory(self, key):
        """MiB of a line in /proc/PID/status."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) / 1024
        return 0

    def note_load(self):
        if self.process.poll() is None:
            self.rss_loaded = self.memory("VmRSS")
            self.rss_peak = self.memory("VmHWM")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        shutil.rmtree(self.data, ignore_errors=True)


class Fleet:
    """The servers of one block of cells, all running at once; only one at a time has work."""

    def __init__(self, names, scratch, build):
        self.servers, self.absent = {}, {}
        self.names, self.scratch, self.build = names, scratch, build

    def __enter__(self):
        try:
            for name in self.names:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, name):
        try:
            self.servers[name] = Server(name, self.scratch, self.build)
            self.servers[name].wait_ready()
        except Unavailable as reason:
            self.absent[name] = str(reason)
            if name in self.servers:
                self.servers.pop(name).stop()

    def __exit__(self, *_):
        for server in self.servers.values():
            server.note_load()
        for server in self.servers.values():
            server.stop()
