# SPDX-License-Identifier: Apache-2.0
"""A raw peer that speaks just enough ZMTP 3.0 (NULL mechanism) to misbehave in ways that libzmq does not allow."""
import select
import socket
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
MORE, LONG, COMMAND = 1, 2, 4


def frame(data, more=False, command=False):
    flags = (MORE if more else 0) | (COMMAND if command else 0)
    if len(data) < 256:
        return bytes([flags, len(data)]) + data
    return bytes([flags | LONG]) + struct.pack(">Q", len(data)) + data


def message(*frames):
    return b"".join(frame(f, more=i < len(frames) - 1) for i, f in enumerate(frames))


def ready(kind):
    def item(name, value):
        return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return frame(b"\x05READY" + item(b"Socket-Type", kind.encode()) + item(b"Identity", b""), command=True)


class Raw:
    """One TCP connection. Cut is set when the other side has ended it."""

    def __init__(self, port, kind=None, patience=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.cut = False
        if kind:
            self.send(GREETING)
            self.read(64)
            self.send(ready(kind))

    def send(self, data, patience=5):
        """All of it, unless the peer cuts the connection; False too when it takes nothing for so long."""
        self.socket.settimeout(patience)
        try:
            self.socket.sendall(data)
            return True
        except TimeoutError:
            return False
        except OSError:
            self.cut = True
            return False

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("cut in the handshake")
            data += more
        return data

    def ended(self, patience=30):
        """Reads away what comes until the peer ends the connection; False if it does not."""
        self.socket.settimeout(patience)
        try:
            while self.socket.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def arrived(self, text):
        """Reads away what is there now; true if it holds this text."""
        found = False
        while self.readable():
            found = text in self.socket.recv(1 << 16) or found
        return found

    def readable(self):
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        self.socket.close()
