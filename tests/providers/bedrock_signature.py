"""AWS's signature, version 4, as the service checks it: written from its description, not with a library."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}


def is_signed(
    path: str, headers: Mapping[str, str], body: bytes, *, region: str, secret: str = SECRET
) -> bool:
    """Whether the Authorization holds for a POST of `body` to `path`, as that stood in the request line.

    The names of `headers` are in lower case.
    """
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/[^/]+/bedrock/aws4_request), "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        headers["authorization"],
    )
    if not found or found[1] != ACCESS or found[2].split("/")[1] != region:
        return False
    covered = found[3].split(";")
    if not {"host", "x-amz-date", "content-type"} <= {*covered}:
        return False
    lines = [f"{name}:{headers[name].strip()}\n" for name in covered]
    # Each part of the path is encoded once more than it is sent.
    request = ["POST", quote(path, safe="/-_.~"), "", "".join(lines), found[3], _digest(body)]
    said = ["AWS4-HMAC-SHA256", headers["x-amz-date"], found[2], _digest("\n".join(request).encode())]
    key = f"AWS4{secret}".encode()
    for step in found[2].split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, "\n".join(said).encode(), "sha256").hex(), found[4])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
