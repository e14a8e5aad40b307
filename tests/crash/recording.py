# SPDX-License-Identifier: Apache-2.0
"""A recording (preload/recorder.c) played up to a point, and the disks that a power cut at that point may leave.

What was synced is certain. Of what was written later any subset of 512-byte sectors may be there, a sector may be half
old, and a name may or may not have been created, changed or removed; a file may have its old or its new size.
"""
import os
import random
import struct

SECTOR = 512
HEAD = struct.Struct("<B3xIIIQQQ")
MODES = ["none", "all", "prefix", "drop-one", "only-last", "random", "torn", "names-lost"]


class Event:
    __slots__ = ("type", "inode", "offset", "begun", "path", "data")

    def __init__(self, fields, path, data):
        kind, _, _, _, self.inode, self.offset, self.begun = fields
        self.type, self.path, self.data = chr(kind), path, data


def load(path):
    """All events of a recording file."""
    with open(path, "rb") as file:
        raw = file.read()
    at, events = 0, []
    while at < len(raw):
        fields = HEAD.unpack_from(raw, at)
        path_len, data_len = fields[1], fields[2]
        at += HEAD.size
        events.append(Event(fields, raw[at:at + path_len].decode(), raw[at + path_len:at + path_len + data_len]))
        at += path_len + data_len
    return events


class File:
    """Content that is certain, and the writes and sizes that are not: (event number, offset, data) or (number, size, None)."""

    def __init__(self, content=b""):
        self.certain = bytearray(content)
        self.pending = []

    def synced(self, before):
        for number, offset, data in self.pending:
            if number < before:
                apply(self.certain, offset, data)
        self.pending = [change for change in self.pending if change[0] >= before]


def apply(content, offset, data):
    if data is None:
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
    else:
        apply(content, offset + len(data), None)
        content[offset:offset + len(data)] = data


class Disk:
    """Plays events one after the other."""

    def __init__(self, names, inodes):
        """names: {path: content} that is on the disk when the recording begins; inodes: {inode: path} of these."""
        self.files = {}    # inode: File
        self.names = {}    # path: File, certain
        self.changes = []  # (number, kind, path, ...) of names, that are not
        self.live = {}     # path: File as the running program sees it
        self.number = self.process = 0
        for path, content in names.items():
            self.names[path] = self.live[path] = File(content)
        for inode, path in inodes.items():
            self.files[inode] = self.live[path]

    def play(self, event):
        if event.type == "B":
            self.process = self.number
        elif event.type == "C":
            file = self.files[event.inode] = self.live[event.path] = File()
            self.changes.append((self.number, "C", event.path, file))
        elif event.type == "W":
            self.files[event.inode].pending.append((self.number, event.offset, event.data))
        elif event.type == "Z":
            self.files[event.inode].pending.append((self.number, event.offset, None))
        elif event.type == "R":
            to = event.data.decode()
            self.live[to] = self.live.pop(event.path)
            self.changes.append((self.number, "R", event.path, to, self.live[to]))
        elif event.type == "U":
            self.live.pop(event.path, None)
            self.changes.append((self.number, "U", event.path))
        elif event.type == "S":
            self.files[event.inode].synced(self.process + event.begun)
        elif event.type == "D":
            self.directory_synced(event.path, self.process + event.begun)
        self.number += 1

    def directory_synced(self, path, before):
        left = []
        for change in self.changes:
            if change[0] < before and os.path.dirname(change[2]) == path:
                rename(self.names, change)
            else:
                left.append(change)
        self.changes = left

    def image(self, mode, rng):
        """{path: content} that a power cut now may leave."""
        names = dict(self.names)
        for change in self.changes:
            lost = {"none": True, "names-lost": rng.random() < 0.7}.get(mode, rng.random() < 0.2 if mode == "random" else False)
            if not lost:
                rename(names, change)
        return {path: content_of(file, mode, rng) for path, file in names.items()}


def rename(names, change):
    if change[1] == "C":
        names[change[2]] = change[3]
    elif change[1] == "R":
        names.pop(change[2], None)
        names[change[3]] = change[4]
    else:
        names.pop(change[2], None)


def sectors_of(pending):
    """The pending changes, cut at sector borders."""
    for _, offset, data in pending:
        if data is None:
            yield offset, None
            continue
        at = 0
        while at < len(data):
            end = min(len(data), (offset + at) // SECTOR * SECTOR + SECTOR - offset)
            yield offset + at, data[at:end]
            at = end


def content_of(file, mode, rng):
    content = bytearray(file.certain)
    parts = list(sectors_of(file.pending))
    if not parts or mode == "none":
        return bytes(content)
    keep = [True] * len(parts)
    at = rng.randrange(len(parts))
    if mode == "prefix":
        keep = [i < at for i in range(len(parts))]
    elif mode == "drop-one":
        keep[at] = False
    elif mode == "only-last":
        keep = [i == len(parts) - 1 for i in range(len(parts))]
    elif mode in ("random", "names-lost"):
        chance = rng.choice([0.1, 0.5, 0.9])
        keep = [rng.random() < chance for _ in parts]
    for i, (offset, data) in enumerate(parts):
        if not keep[i]:
            continue
        if mode == "torn" and i == at and data:
            cut = rng.randrange(len(data))
            apply(content, offset, data[:cut])
            if rng.random() < 0.5:
                apply(content, offset + cut, bytes(len(data) - cut))
        elif not (mode == "torn" and i > at and rng.random() < 0.5):
            apply(content, offset, data)
    return bytes(content)


def store(image, folder):
    for path, content in image.items():
        full = os.path.join(folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)


def seeded(*parts):
    return random.Random(":".join(str(part) for part in parts))
