# SPDX-License-Identifier: Apache-2.0
"""OpenStack Swift with its S3 interface (Debian's packages), a private instance: an S3 server by others that verifies signatures,
hashes and parts. A scratch folder, free loopback ports, one process for each of its four servers; nothing of /etc/swift is used.

    with Swift() as swift:
        swift.url, swift.environment()

It has no conditional writes (501). Folder and processes go with the `with` block, or with the test's process."""
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bus import PATIENCE_S, die_with_parent, free_base  # noqa: E402
from cli import wait_until  # noqa: E402

ACCESS, SECRET, REGION = "test:tester", "testing", "us-east-1"
SERVERS = ["account", "container", "object"]

# The servers import the same modules: once, then a process for each.
LAUNCHER = """
import ctypes, os, signal, sys
folder, ports = sys.argv[1], dict(zip(("account", "container", "object"), map(int, sys.argv[2:])))
from swift.common.ring.builder import RingBuilder
for name, port in ports.items():
    ring = RingBuilder(4, 1, 1)
    ring.add_dev(dict(id=0, region=1, zone=1, ip="127.0.0.1", port=port, device="disk", weight=1))
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{name}.ring.gz")
import swift.proxy.server, swift.account.server, swift.container.server, swift.obj.server
from swift.common.wsgi import run_wsgi
for name in (*ports, "proxy"):
    if not os.fork():
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        os._exit(run_wsgi(f"{folder}/{name}.conf", f"{name}-server", verbose=True))
signal.pause()
"""

# tempauth keeps tokens in memcached; one process can keep them itself.
CACHE = """
class Memory:
    def __init__(self):
        self.kept = {}
    def get(self, key, **_):
        return self.kept.get(key)
    def set(self, key, value, **_):
        self.kept[key] = value
    def delete(self, key, **_):
        self.kept.pop(key, None)

def factory(*_, **__):
    memory = Memory()
    def wrap(app):
        def call(environment, start):
            environment["swift.cache"] = memory
            return app(environment, start)
        return call
    return wrap
"""

COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 0
max_clients = 64
log_udp_host = 127.0.0.1
log_udp_port = 9
"""

BACKEND = COMMON + """[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

PROXY = COMMON + """[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
paste.filter_factory = swift_test_cache:factory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
"""

HASH = "[swift-hash]\nswift_hash_path_suffix = lineshaft\n[storage-policy:0]\nname = one\ndefault = yes\n" \
       "[swift-constraints]\nmax_file_size = 5368709122\n"


class Swift:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="swift-")
        ports = {name: free_base() for name in (*SERVERS, "proxy")}
        self.url = f"http://127.0.0.1:{ports['proxy']}"
        os.makedirs(f"{self.folder}/disk")
        self.write("swift.conf", HASH)
        self.write("swift_test_cache.py", CACHE)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        for name in SERVERS:
            self.write(f"{name}.conf", BACKEND.format(name=name, port=ports[name], user=user, folder=self.folder))
        self.write("proxy.conf", PROXY.format(port=ports["proxy"], user=user, folder=self.folder))
        words = ["/usr/bin/python3", "-c", LAUNCHER, self.folder, *(str(ports[n]) for n in SERVERS)]
        with open(f"{self.folder}/log", "wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, preexec_fn=die_with_parent, start_new_session=True,
                                            env={**os.environ, "PYTHONPATH": self.folder})
        try:
            wait_until(lambda: all(self.answers(port) for port in ports.values()), "up")
        except BaseException:
            print(self.log())
            self.close()
            raise

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w") as file:
            file.write(text)

    def log(self):
        with open(f"{self.folder}/log", errors="replace") as file:
            return file.read()[-4000:]

    def answers(self, port):
        assert self.process.poll() is None, f"Swift has ended: {self.log()}"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status > 0
        except OSError:
            return False

    def environment(self, secret=SECRET):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": secret}

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
