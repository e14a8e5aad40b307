# SPDX-License-Identifier: Apache-2.0
"""nodes/kit/objstore beside boto3, on OpenStack Swift and, if $MINIO names its program, on MinIO: each reads what the other wrote."""
import hashlib
import http.client
import os
import re
import subprocess

import boto3
import botocore.config
import botocore.exceptions
import pytest

from bus import die_with_parent, free_base
from cli import wait_until
from objstore_rig import Failed, Store
from objstore_test import ODD_KEYS, PART, make_file  # noqa: F401  a fixture
from swift import Swift

USER, PASSWORD = "lineshaft-test", "a/secret+with=odd signs"


class MinIO:
    conditional = 1

    def __init__(self, folder):
        self.port = free_base()
        self.url = f"http://localhost:{self.port}"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD,
                       "MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_DOMAIN": "localhost"}
        words = [os.environ["MINIO"], "server", "--quiet", "--address", f"127.0.0.1:{self.port}", str(folder / "data")]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, preexec_fn=die_with_parent)
        wait_until(self.lives, "up")

    def lives(self):
        assert self.process.poll() is None, "MinIO has ended"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/minio/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def environment(self):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", params=["swift", "minio"])
def server(request, tmp_path_factory):
    if request.param == "minio" and not os.environ.get("MINIO"):
        pytest.skip("MINIO names no program")
    with MinIO(tmp_path_factory.mktemp("minio")) if request.param == "minio" else Swift() as running:
        yield running


@pytest.fixture
def bucket(server, request):
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    client(server).create_bucket(Bucket=name)
    return name


def client(server):
    e = server.environment()
    config = botocore.config.Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
                                    response_checksum_validation="when_required")
    return boto3.client("s3", endpoint_url=e["AWS_ENDPOINT_URL"], aws_access_key_id=e["AWS_ACCESS_KEY_ID"], region_name="us-east-1",
                        aws_secret_access_key=e["AWS_SECRET_ACCESS_KEY"], config=config)


def test_boto3_reads_what_we_wrote(server, bucket, make_file):  # noqa: F811
    ours, theirs = Store(f"s3://{bucket}", server.environment()), client(server)
    for number, key in enumerate([*ODD_KEYS, "large"]):
        file = make_file(11 * PART // 5 if key == "large" else 100 + number)
        stored = ours.put(key, file, part_bytes=PART, type="application/x-model")
        got = theirs.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == file.read_bytes() and got["ETag"] == stored["etag"] and got["ContentType"] == "application/x-model"
        assert got["Metadata"] == {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    listed = theirs.list_objects_v2(Bucket=bucket)["Contents"]
    assert sorted((o["Key"] for o in listed), key=str.encode) == ours.list_all(recursive=True, max=4)


def test_we_read_what_boto3_wrote(server, bucket, make_file, tmp_path):  # noqa: F811
    ours, theirs = Store(f"s3://{bucket}", server.environment()), client(server)
    parts = boto3.s3.transfer.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    for number, key in enumerate([*ODD_KEYS, "large"]):
        file = make_file(11 * PART // 5 if key == "large" else 100 + number)
        theirs.upload_file(str(file), bucket, key, Config=parts, ExtraArgs={"ContentType": "text/x-other"})
        found, got = ours.get(key, tmp_path / "out")
        assert got == file.read_bytes() and found["type"] == "text/x-other" and found["sha256"] == ""
    assert ours.list_all(recursive=True, max=4) == sorted([*ODD_KEYS, "large"], key=str.encode)
    assert ours.put(ODD_KEYS[0], make_file(100))["already_there"]
    with pytest.raises(Failed, match="no SHA-256 to compare"):
        ours.put("large", make_file(11 * PART // 5), part_bytes=PART)
    for key in [*ODD_KEYS, "large"]:
        ours.delete(key)
    assert theirs.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_killed_uploads_go_on_and_none_is_left(server, bucket, make_file, tmp_path):  # noqa: F811
    ours, theirs = Store(f"s3://{bucket}/pre", server.environment()), client(server)
    file, journal = make_file(3 * PART + 77), tmp_path / "journal"
    for lines in range(2, 9):
        killed = ours.start("put", f"k{lines}", file, part_bytes=PART, parallel=2, journal=journal, die_at=lines)
        killed.wait()
        assert killed.process.returncode == -9
        ours.put(f"k{lines}", file, part_bytes=PART, journal=journal)
        assert theirs.get_object(Bucket=bucket, Key=f"pre/k{lines}")["Body"].read() == file.read_bytes()
        assert not theirs.list_multipart_uploads(Bucket=bucket, Prefix=f"pre/k{lines}").get("Uploads")


def test_an_upload_whose_id_was_lost_is_swept_up(server, bucket, make_file, tmp_path):  # noqa: F811
    """Killed between the store's answer and the journal: two uploads without parts, one older than the journal, one with a part."""
    ours, theirs = Store(f"s3://{bucket}", server.environment()), client(server)
    file, journal = make_file(3 * PART), tmp_path / "journal"
    killed = ours.start("put", "k", file, part_bytes=PART, journal=journal, die_at=2)
    killed.wait()
    for _ in range(2):
        theirs.create_multipart_upload(Bucket=bucket, Key="k")
    other = theirs.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    theirs.upload_part(Bucket=bucket, Key="k", UploadId=other, PartNumber=1, Body=b"x")
    theirs.create_multipart_upload(Bucket=bucket, Key="k/longer")
    ours.put("k", file, part_bytes=PART, journal=journal)
    left = theirs.list_multipart_uploads(Bucket=bucket, Prefix="k").get("Uploads", [])
    assert {u["UploadId"] for u in left if u["Key"] == "k"} == {other}
    assert theirs.get_object(Bucket=bucket, Key="k")["Body"].read() == file.read_bytes()


def test_conditions_and_hashes(server, bucket, make_file):  # noqa: F811
    ours, theirs = Store(f"s3://{bucket}", server.environment()), client(server)
    run = ours.run("put", "k", make_file())
    assert run.of("conditional")[0]["is"] == (1 if isinstance(server, MinIO) else 0)
    with pytest.raises(Failed, match="is there already with another content"):
        ours.put("k", make_file(1001))
    with pytest.raises(botocore.exceptions.ClientError, match="BadDigest|InvalidDigest"):
        theirs.put_object(Bucket=bucket, Key="bad", Body=b"body", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    with pytest.raises(Failed) as failed:
        Store(f"s3://{bucket}", server.environment() | {"AWS_SECRET_ACCESS_KEY": "wrong"}).put("other", make_file(), replace=True)
    assert failed.value.name == "FORBIDDEN" and "SignatureDoesNotMatch" in failed.value.text
    assert ours.list(recursive=True)[0] == ["k"]


def test_the_bucket_in_the_hosts_name(server, bucket, make_file, tmp_path):  # noqa: F811
    if not isinstance(server, MinIO):
        pytest.skip("Swift is not told a domain")
    ours, file = Store(f"s3://{bucket}/pre", server.environment()), make_file(3 * PART)
    ours.put("a b/c+d", file, addressing="virtual", part_bytes=PART)
    assert ours.get("a b/c+d", tmp_path / "out", addressing="virtual")[1] == file.read_bytes()
    assert ours.list_all("a b/", addressing="virtual") == ["a b/c+d"]
