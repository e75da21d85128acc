"""An OAuth issuer of a test: its keys, what it signs, and the documents that it answers with."""

import json
import time

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example/realm"
AUDIENCE = "https://mcp.example/mcp"
KEYS = f"{ISSUER}/keys"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"


class Signer:
    """Signs as `kid`, with a key of the kind that `alg` needs."""

    def __init__(self, kid="one", alg="ES256"):
        self.kid, self.alg = kid, alg
        self.private = _made(alg)

    def public(self, **more):
        """As it stands among the issuer's keys."""
        key = self.private.public_key()
        if self.alg == "EdDSA":
            plain = OKPAlgorithm.to_jwk(key, as_dict=True)
        elif self.alg.startswith("ES"):
            plain = ECAlgorithm.to_jwk(key, as_dict=True)
        else:
            plain = RSAAlgorithm.to_jwk(key, as_dict=True)
        return {**plain, "kid": self.kid, **more}

    def token(self, *, headers=None, issuer=ISSUER, **claims):
        """A token that is good for ten minutes; a claim that is None is left out."""
        now = int(time.time())
        usual = {"iss": issuer, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600}
        said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(
            said, self.private, algorithm=self.alg, headers={"kid": self.kid} if headers is None else headers
        )


def _made(alg):
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg.startswith("ES"):
        curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[alg]
        return ec.generate_private_key(curve)
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Documents(httpx2.AsyncBaseTransport):
    """Answers with what stands at a URL: an object, bytes, a response, or an error to be raised.

    `asked` are the URLs in order. With an `event` it waits for that before it answers.
    """

    def __init__(self, *signers, event=None):
        self.at = {
            DISCOVERY: {"issuer": ISSUER, "jwks_uri": KEYS},
            KEYS: {"keys": [signer.public() for signer in signers]},
        }
        self.asked = []
        self.event = event

    async def handle_async_request(self, request):
        url = str(request.url)
        self.asked.append(url)
        if self.event is not None:
            await self.event.wait()
        found = self.at.get(url)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, httpx2.Response):
            return found
        if found is None:
            return httpx2.Response(404)
        return httpx2.Response(200, content=found if isinstance(found, bytes) else json.dumps(found).encode())
