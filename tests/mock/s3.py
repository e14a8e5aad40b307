# SPDX-License-Identifier: Apache-2.0
"""An S3 server that misbehaves on command, standard library only. It believes nothing: signatures are worked out anew from the request
as it came (from Amazon's documentation, not from our signer), every hash is compared, every part checked.

    with S3Fake(folder) as s3:
        s3.fault("drop", method="PUT", query="partNumber", times=2)
        ... s3.url, s3.objects, s3.uploads, s3.requests

Faults, each for the next `times` requests that match, after `skip` others:
    drop      does what is asked, then closes the connection without an answer
    cut       closes the connection in the middle of the request's body; nothing is done
    status    answers `status` with `code` and `headers`; nothing is done
    late      Complete: 200, white space, then <Error> with `code`; nothing is done
    half      GET: the answer breaks off in the middle of its body
    stall     does what is asked, and says nothing until `release()`
    damage    the request's body arrives with a bit turned
`then`, if given, is called when the fault has happened. With `tls`, a folder with cert.pem and key.pem, it speaks https.
Properties of the store: `clock_s` (its clock less the real one), `conditions` ("yes", "ignore", "501"), `region`, `min_part`,
`parts_page`, `list_page`, `repeats` (a Complete that is repeated is answered 200, as Swift does), `versions`."""

import base64
import binascii
import datetime
import email.utils
import hashlib
import hmac
import http.server
import itertools
import os
import re
import socket
import ssl
import threading
import time
import urllib.parse
import xml.etree.ElementTree
from xml.sax.saxutils import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
ACCESS, SECRET = "lineshaft-test", "a/secret+with=odd signs"


def iso(now):
    return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Refusal(Exception):
    def __init__(self, status, code, message="", **more):
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more


class Blob:
    """Bytes in files, one after the other."""

    def __init__(self, files):
        self.files = files
        self.size = sum(os.path.getsize(f) for f in files)

    def pieces(self, start, count):
        for path in self.files:
            size = os.path.getsize(path)
            if start < size and count > 0:
                with open(path, "rb") as file:
                    file.seek(start)
                    left = min(count, size - start)
                    count -= left
                    while left:
                        piece = file.read(min(left, 1 << 20))
                        left -= len(piece)
                        yield piece
                start = size
            start -= size

    def bytes(self):
        return b"".join(self.pieces(0, self.size))


class Object:
    def __init__(self, blob, etag, headers, now):
        self.blob, self.etag, self.now = blob, etag, now
        self.headers = {k: v for k, v in headers.items() if k == "content-type" or k.startswith("x-amz-meta-")
                        or k == "x-amz-server-side-encryption"}
        self.version = "v" + hashlib.sha256(os.urandom(8)).hexdigest()[:16]


class Upload:
    def __init__(self, key, headers, now):
        self.key, self.headers, self.parts, self.now = key, headers, {}, now


class Seen:
    """A request as it was recorded."""

    def __init__(self, method, bucket, key, query, headers):
        self.method, self.bucket, self.key, self.query, self.headers = method, bucket, key, query, headers
        self.status, self.body = 0, 0

    def __repr__(self):
        return f"{self.method} {self.key} {self.query} {self.status}"


class S3Fake:
    def __init__(self, folder, bucket="bucket", region="us-east-1", tls=None):
        self.folder, self.bucket, self.region, self.tls = str(folder), bucket, region, tls
        os.makedirs(self.folder, exist_ok=True)
        self.buckets = {bucket}
        self.objects, self.uploads, self.over = {}, {}, {}
        self.requests, self.faults, self.refused_signatures = [], [], []
        self.clock_s, self.conditions, self.min_part, self.parts_page, self.list_page = 0, "yes", 5 << 20, 1000, 1000
        self.repeats, self.versions = False, False
        self.lock = threading.RLock()
        self.released = threading.Event()
        self.stalled = threading.Semaphore(0)
        self.numbers = itertools.count()

    def __enter__(self):
        fake = self

        class Bound(Handler):
            s3 = fake

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{self.tls}/cert.pem", f"{self.tls}/key.pem")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def environment(self):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}

    def fault(self, kind, times=1, skip=0, method=None, query=None, key=None, **more):
        with self.lock:
            self.faults.append({"kind": kind, "times": times, "skip": skip, "method": method, "query": query, "key": key, **more})

    def release(self):
        self.released.set()

    def count(self, method, query=None, status=None):
        with self.lock:
            return sum(r.method == method and (query is None or query in r.query) and status in (None, r.status) for r in self.requests)

    def now(self):
        return time.time() + self.clock_s

    def take_fault(self, seen):
        with self.lock:
            for f in self.faults:
                if (f["times"] > 0 and f["method"] in (None, seen.method) and (f["query"] is None or f["query"] in seen.query)
                        and (f["key"] is None or re.search(f["key"], seen.key))):
                    if f["skip"]:
                        f["skip"] -= 1
                        continue
                    f["times"] -= 1
                    return f
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3 = None
    timeout = 120

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # ---- a request

    def handle_expect_100(self):
        return True  # first it is looked at whether the body is wanted

    def run(self):
        raw_path, _, raw_query = self.path.partition("?")
        parts = urllib.parse.unquote(raw_path, errors="strict").lstrip("/").split("/", 1)
        pairs = [p.partition("=") for p in raw_query.split("&") if p]
        query = {urllib.parse.unquote(k): urllib.parse.unquote(v) for k, _, v in pairs}
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.seen = Seen(self.command, parts[0], parts[1] if len(parts) > 1 else "", query, headers)
        self.left = int(headers.get("content-length", 0))
        self.body_file, self.fault = None, self.s3.take_fault(self.seen)
        with self.s3.lock:
            self.s3.requests.append(self.seen)
        try:
            self.before()
            scope_hash = self.check_signature(raw_path, raw_query, headers)
            if headers.get("expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            self.read_body(scope_hash, headers)
            self.act()
        except Refusal as r:
            self.refuse(r)
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = run

    def before(self):
        kind = self.fault["kind"] if self.fault else ""
        if kind == "status":
            raise Refusal(self.fault["status"], self.fault.get("code", ""), self.fault.get("message", "on command"),
                          headers=self.fault.get("headers", {}))
        if kind == "cut":
            if self.seen.headers.get("expect"):
                self.send_response_only(100)
                self.end_headers()
            self.rfile.read(self.left // 2)
            self.drop()

    def then(self):
        if "then" in self.fault:
            self.fault["then"]()

    def drop(self):
        self.close_connection = True
        self.then()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.wfile = open(os.devnull, "wb")
        self.connection.close()
        raise ConnectionError

    # ---- Signature Version 4, from the documentation

    def check_signature(self, raw_path, raw_query, headers):
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, *SignedHeaders=([a-z0-9;-]+),"
                         r" *Signature=([0-9a-f]{64})", headers.get("authorization", ""))
        if not m:
            raise Refusal(403, "AccessDenied", "no signature of version 4")
        access, day, region, names, signature = m.groups()
        stamp, content = headers.get("x-amz-date", ""), headers.get("x-amz-content-sha256", "")
        if access != ACCESS:
            raise Refusal(403, "InvalidAccessKeyId")
        if region != self.s3.region:
            raise Refusal(400, "AuthorizationHeaderMalformed", "the region is wrong", Region=self.s3.region)
        then = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
        if abs(then - self.s3.now()) > 900:
            raise Refusal(403, "RequestTimeTooSkewed")
        quote = lambda text, safe: urllib.parse.quote(urllib.parse.unquote_to_bytes(text), safe=safe)
        pairs = sorted((quote(k, "-._~"), quote(v, "-._~")) for k, _, v in (p.partition("=") for p in raw_query.split("&") if p))
        signed = names.split(";")
        must = {"host"} | {h for h in headers if h.startswith(("x-amz-", "if-")) or h in ("content-type", "content-md5", "range")}
        must_not = {"user-agent", "content-length", "expect", "transfer-encoding", "connection", "accept"}
        self.demand(must <= set(signed) and not must_not & set(signed), f"signed headers {names}")
        self.demand(signed == sorted(signed) and day == stamp[:8], "order of names, or day")
        self.demand(quote(raw_path, "/-._~") == raw_path, f"path {raw_path} is not in its canonical form")
        canonical = "\n".join([self.command, quote(raw_path, "/-._~"), "&".join(f"{k}={v}" for k, v in pairs),
                               *(f"{n}:{' '.join(headers[n].split())}" for n in signed), "", names, content])
        scope = f"{day}/{region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = b"AWS4" + SECRET.encode()
        for word in (day, region, "s3", "aws4_request", to_sign):
            key = hmac.new(key, word.encode(), "sha256").digest()
        self.demand(key.hex() == signature, canonical)
        return content

    def demand(self, true, what):
        if not true:
            self.s3.refused_signatures.append(what)
            raise Refusal(403, "SignatureDoesNotMatch", what[:300])

    # ---- the body, and its hashes

    def read_body(self, content, headers):
        sha, md5, crc, path = hashlib.sha256(), hashlib.md5(), 0, os.path.join(self.s3.folder, f"body-{next(self.s3.numbers)}")
        with open(path, "wb") as file:
            while self.left:
                piece = self.rfile.read1(min(self.left, 1 << 20))
                if not piece:
                    os.unlink(path)
                    raise ConnectionError
                self.left -= len(piece)
                if self.fault and self.fault["kind"] == "damage" and not self.seen.body:
                    piece = bytes([piece[0] ^ 1]) + piece[1:]
                self.seen.body += len(piece)
                file.write(piece)
                sha.update(piece)
                md5.update(piece)
                crc = binascii.crc32(piece, crc)
        self.body_file, self.md5 = path, md5
        if content != "UNSIGNED-PAYLOAD" and content != sha.hexdigest():
            raise Refusal(400, "XAmzContentSHA256Mismatch")
        given = {"content-md5": md5.digest(), "x-amz-checksum-sha256": sha.digest(), "x-amz-checksum-crc32": crc.to_bytes(4, "big")}
        for name, digest in given.items():
            if name in headers and headers[name] != base64.b64encode(digest).decode():
                raise Refusal(400, "BadDigest", name)

    def xml_body(self):
        with open(self.body_file, "rb") as file:
            return xml.etree.ElementTree.parse(file).getroot()

    # ---- answers

    def send(self, status, body=b"", **headers):
        kind = self.fault["kind"] if self.fault else ""
        if kind == "drop":
            self.drop()
        if kind == "stall":
            self.s3.stalled.release()
            self.s3.released.wait(60)
        self.seen.status = status
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(self.s3.now(), usegmt=True))
        self.send_header("x-amz-request-id", f"R{next(self.s3.numbers)}")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_xml(self, root, inside, status=200, **headers):
        self.send(status, f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{inside}</{root}>'.encode(),
                  Content_Type="application/xml", **headers)

    def refuse(self, r):
        if self.left and (self.seen.headers.get("expect") or self.left > 1 << 20):
            self.close_connection = True
        elif self.left:
            self.rfile.read(self.left)
            self.left = 0
        more = dict(r.more)
        headers = more.pop("headers", {})
        if r.code == "AuthorizationHeaderMalformed":
            headers = {"x-amz-bucket-region": self.s3.region}
        inside = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in {"Code": r.code, "Message": r.message, **more}.items())
        body = b"" if r.status == 304 else f"<?xml version='1.0'?><Error>{inside}</Error>".encode()
        try:
            self.send(r.status, body, Content_Type="application/xml", **headers)
        except ConnectionError:
            self.close_connection = True

    # ---- what S3 does

    def act(self):
        with self.s3.lock:
            if self.seen.bucket not in self.s3.buckets and not (self.command == "PUT" and not self.seen.key):
                raise Refusal(404, "NoSuchBucket")
        q = self.seen.query
        if not self.seen.key:
            return {"PUT": self.make_bucket, "GET": self.list_uploads if "uploads" in q else self.list}[self.command]()
        if "uploads" in q:
            return self.create_upload()
        if "uploadId" in q:
            return {"PUT": self.put_part, "GET": self.list_parts, "POST": self.complete, "DELETE": self.abort}[self.command]()
        return {"PUT": self.put, "GET": self.get, "HEAD": self.get, "DELETE": self.delete}[self.command]()

    def make_bucket(self):
        with self.s3.lock:
            if self.seen.bucket in self.s3.buckets:
                raise Refusal(409, "BucketAlreadyOwnedByYou")
            self.s3.buckets.add(self.seen.bucket)
        self.send(200, Location="/" + self.seen.bucket)

    def condition(self, key):
        if "if-none-match" not in self.seen.headers or self.s3.conditions == "ignore":
            return
        if self.s3.conditions == "501":
            raise Refusal(501, "NotImplemented", "If-None-Match")
        if key in self.s3.objects:
            raise Refusal(412, "PreconditionFailed")

    def version(self, o):
        return {"x-amz-version-id": o.version} if self.s3.versions else {}

    def put(self):
        with self.s3.lock:
            self.condition(self.seen.key)
            o = Object(Blob([self.body_file]), f'"{self.md5.hexdigest()}"', self.seen.headers, self.s3.now())
            self.s3.objects[self.seen.key] = o
        self.send(200, ETag=o.etag, **self.version(o))

    def get(self):
        with self.s3.lock:
            o = self.s3.objects.get(self.seen.key)
        if not o:
            raise Refusal(404, "NoSuchKey")
        if self.seen.headers.get("if-match", o.etag) != o.etag:
            raise Refusal(412, "PreconditionFailed")
        start, stop, status, more = 0, o.blob.size, 200, {}
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.seen.headers.get("range", ""))
        if m:
            start, status = int(m[1]), 206
            stop = min(int(m[2]) + 1, o.blob.size) if m[2] else o.blob.size
            if start >= o.blob.size:
                raise Refusal(416, "InvalidRange")
            more["Content_Range"] = f"bytes {start}-{stop - 1}/{o.blob.size}"
        self.send(status, Content_Length=str(stop - start), ETag=o.etag, Last_Modified=email.utils.formatdate(o.now, usegmt=True),
                  **more, **o.headers, **self.version(o))
        if self.command == "HEAD":
            return
        half = self.fault and self.fault["kind"] == "half"
        for piece in o.blob.pieces(start, (stop - start) // 2 if half else stop - start):
            self.wfile.write(piece)
        if half:
            self.close_connection = True
            self.then()

    def delete(self):
        with self.s3.lock:
            self.s3.objects.pop(self.seen.key, None)
        self.send(204)

    # ---- uploads in parts

    def create_upload(self):
        with self.s3.lock:
            id = f"up/load+{next(self.s3.numbers)}=="
            self.s3.uploads[id] = Upload(self.seen.key, self.seen.headers, self.s3.now())
        self.send_xml("InitiateMultipartUploadResult", f"<Bucket>b</Bucket><Key>{escape(self.seen.key)}</Key><UploadId>{id}</UploadId>")

    def list_uploads(self):
        with self.s3.lock:
            found = [(u.key, id, u.now) for id, u in self.s3.uploads.items() if u.key.startswith(self.seen.query.get("prefix", ""))]
        inside = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{id}</UploadId><Initiated>{iso(now)}</Initiated></Upload>"
                         for key, id, now in found)
        self.send_xml("ListMultipartUploadsResult", inside)

    def upload(self):
        found = self.s3.uploads.get(self.seen.query["uploadId"])
        if not found or found.key != self.seen.key:
            raise Refusal(404, "NoSuchUpload")
        return found

    def put_part(self):
        with self.s3.lock:
            etag = f'"{self.md5.hexdigest()}"'
            self.upload().parts[int(self.seen.query["partNumber"])] = (etag, self.body_file)
        self.send(200, ETag=etag)

    def list_parts(self):
        with self.s3.lock:
            after = int(self.seen.query.get("part-number-marker", 0))
            numbers = sorted(n for n in self.upload().parts if n > after)
            page = [(n, *self.upload().parts[n]) for n in numbers[:self.s3.parts_page]]
        inside = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(etag)}</ETag><Size>{os.path.getsize(f)}</Size></Part>"
                         for n, etag, f in page)
        more = len(numbers) > len(page)
        self.send_xml("ListPartsResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{inside}")

    def complete(self):
        ns = "{" + NAMESPACE + "}"
        wanted = [(int(p.findtext(ns + "PartNumber")), p.findtext(ns + "ETag")) for p in self.xml_body().findall(ns + "Part")]
        id = self.seen.query["uploadId"]
        if self.fault and self.fault["kind"] == "late":
            error = f"<Error><Code>{self.fault['code']}</Code></Error>"
            self.send(200, b'<?xml version="1.0" encoding="UTF-8"?>\n   \n' + error.encode())
            return
        with self.s3.lock:
            if id in self.s3.over and self.s3.repeats:
                o = self.s3.over[id]
            else:
                u = self.upload()
                if [n for n, _ in wanted] != sorted({n for n, _ in wanted}) or not wanted:
                    raise Refusal(400, "InvalidPartOrder")
                if any(u.parts.get(n, ("", ""))[0] != etag for n, etag in wanted):
                    raise Refusal(400, "InvalidPart")
                files = [u.parts[n][1] for n, _ in wanted]
                if any(os.path.getsize(f) < self.s3.min_part for f in files[:-1]):
                    raise Refusal(400, "EntityTooSmall")
                self.condition(self.seen.key)
                digest = hashlib.md5(b"".join(bytes.fromhex(etag.strip('"')) for _, etag in wanted)).hexdigest()
                o = Object(Blob(files), f'"{digest}-{len(files)}"', u.headers, self.s3.now())
                self.s3.objects[self.seen.key] = self.s3.over[id] = o
                del self.s3.uploads[id]
        inside = f"<Key>{escape(self.seen.key)}</Key><ETag>{escape(o.etag)}</ETag>"
        self.send_xml("CompleteMultipartUploadResult", inside, **self.version(o))

    def abort(self):
        with self.s3.lock:
            self.upload()
            del self.s3.uploads[self.seen.query["uploadId"]]
        self.send(204)

    # ---- listing

    def list(self):
        q = self.seen.query
        prefix, delimiter, most = q.get("prefix", ""), q.get("delimiter", ""), min(int(q.get("max-keys", 1000)), self.s3.list_page)
        after = base64.b64decode(q["continuation-token"]).decode() if "continuation-token" in q else q.get("start-after", "")
        quote = urllib.parse.quote_plus if q.get("encoding-type") == "url" else lambda t, **_: escape(t)
        with self.s3.lock:
            keys = sorted((k for k in self.s3.objects if k.startswith(prefix)), key=str.encode)
            told, contents, folders, last = 0, "", "", ""
            for key in keys:
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                name = key[:cut + 1] if cut >= 0 else key
                if name == last or key.encode() <= after.encode() or (cut >= 0 and after.startswith(name) and after != name):
                    continue
                if told == most:
                    break
                told, last = told + 1, name
                o = self.s3.objects[key]
                if cut >= 0:
                    folders += f"<CommonPrefixes><Prefix>{quote(name, safe='/')}</Prefix></CommonPrefixes>"
                else:
                    contents += (f"<Contents><Key>{quote(name, safe='/')}</Key><LastModified>{iso(o.now)}</LastModified>"
                                 f"<ETag>{escape(o.etag)}</ETag><Size>{o.blob.size}</Size></Contents>")
            else:
                key = None
        # The token stands behind everything that begins with the folder told last.
        token = base64.b64encode((last + ("\U0010ffff" if last.endswith("/") and delimiter else "")).encode()).decode()
        more = f"<NextContinuationToken>{token}</NextContinuationToken>" if key else ""
        coded = "<EncodingType>url</EncodingType>" if "encoding-type" in q else ""
        self.send_xml("ListBucketResult", f"<IsTruncated>{'true' if key else 'false'}</IsTruncated>{coded}{contents}{more}{folders}")
