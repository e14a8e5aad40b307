# SPDX-License-Identifier: Apache-2.0
"""Reads `.wandb` files, with nothing that lineshaft has: LevelDB's log around protobuf messages (docs/nodes/wandb.md)."""
import json
import pathlib
import struct

BLOCK, CHUNK_HEAD, FILE_HEAD = 32768, 7, 7
FULL, LAST = 1, 4
HISTORY, EXIT = 2, 18   # fields of a Record


def records(path):
    """Its records, each a list of (field, value)."""
    data, at, found, whole = pathlib.Path(path).read_bytes(), FILE_HEAD, [], b""
    while at + CHUNK_HEAD <= len(data):
        if BLOCK - at % BLOCK < CHUNK_HEAD:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if at + CHUNK_HEAD + length > len(data):
            break  # it is being written
        whole += data[at + CHUNK_HEAD:at + CHUNK_HEAD + length]
        at += CHUNK_HEAD + length
        if kind in (FULL, LAST):
            found.append(message(whole))
            whole = b""
    return found


def message(data):
    """The fields of a protobuf message as (number, value); varints and bytes are all that there is."""
    fields, at = [], 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            fields.append((tag >> 3, varint()))
        else:
            size = varint()
            fields.append((tag >> 3, data[at:at + size]))
            at += size
    return fields


def rows(path):
    """The rows of the history, as objects."""
    found = []
    for record in records(path):
        for field, value in record:
            if field == HISTORY:
                items = [dict(message(item)) for number, item in message(value) if number == 1]
                found.append({(item.get(1) or item[2]).decode(): json.loads(item[16]) for item in items})
    return found


def is_ended(path):
    return any(field == EXIT for record in records(path) for field, _ in record)
