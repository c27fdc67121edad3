#!/usr/bin/env python3
"""Writes the files of this folder that nobody published: with nothing of Canister's, and with others' encoders.

    python3 -m venv venv && venv/bin/pip install base58 cbor2 cryptography multiaddr multiformats
    venv/bin/python make.py

Keys are new each time, so all chains change when it runs.
"""

import base64
import hashlib
import json
import pathlib

import base58
import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multiaddr import Multiaddr
from multiformats import CID, multihash, varint

FOLDER = pathlib.Path(__file__).parent
TOPIC = "/indexer/ingest/mainnet"
SHA256 = ec.ECDSA(hashes.SHA256())


def public(key):
    """libp2p's protobuf of a key."""
    key = key.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        kind, data = 1, key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    elif isinstance(key, rsa.RSAPublicKey):
        kind, data = 0, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    elif key.curve.name == "secp256k1":
        kind, data = 2, key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    else:
        kind, data = 3, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"\x08" + bytes([kind]) + b"\x12" + varint.encode(len(data)) + data


def peer_id(key):
    data = public(key)
    return multihash.digest(data, "identity" if len(data) <= 42 else "sha2-256")


def sign(key, data):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data, SHA256)


def dag_json(value):
    def plain(value):
        if isinstance(value, CID):
            return {"/": str(value)}
        if isinstance(value, bytes):
            return {"/": {"bytes": base64.b64encode(value).decode().rstrip("=")}}
        if isinstance(value, list):
            return [plain(it) for it in value]
        if isinstance(value, dict):
            return {name: plain(it) for name, it in value.items()}
        return value

    return json.dumps(plain(value), separators=(",", ":"), sort_keys=True).encode()


def dag_cbor(value):
    def plain(value):
        if isinstance(value, CID):
            return cbor2.CBORTag(42, b"\0" + bytes(value))
        if isinstance(value, list):
            return [plain(it) for it in value]
        if isinstance(value, dict):
            return {name: plain(it) for name, it in value.items()}
        return value

    return cbor2.dumps(plain(value), canonical=True)


class Chain:
    def __init__(self, key, codec):
        self.key, self.codec, self.blocks = key, codec, {}

    def store(self, value):
        data = {"dag-json": dag_json, "dag-cbor": dag_cbor}[self.codec](value)
        cid = CID("base32", 1, self.codec, multihash.digest(data, "sha2-256"))
        self.blocks[str(cid)] = base64.b64encode(data).decode()
        return cid

    def advertisement(self, previous, number, is_removal):
        entries = self.store({"Entries": [multihash.digest(b"%d" % number, "sha2-256")]})
        provider = base58.b58encode(peer_id(self.key)).decode()
        addresses = [f"/dns4/{it}.example/tcp/443/https" for it in ("a", "b")]
        metadata = varint.encode(0x300000) + b"%d" % number
        said = (bytes(previous) if previous else b"") + bytes(entries) + provider.encode()
        said += "".join(addresses).encode() + metadata + bytes([is_removal])
        value = {
            "Addresses": addresses,
            "ContextID": b"context",
            "Entries": entries,
            "IsRm": is_removal,
            "Metadata": metadata,
            "Provider": provider,
        }
        if previous:
            value["PreviousID"] = previous
        # The first two are as publishers wrote them before there were numbers.
        if number > 2:
            value["SeqNum"] = number
            said += varint.encode(number)
        kind, payload = b"/indexer/ingest/adSignature", multihash.digest(said, "sha2-256")
        signed = b"".join(varint.encode(len(it)) + it for it in (b"indexer", kind, payload))
        parts = [(1, public(self.key)), (2, kind), (3, payload), (5, sign(self.key, signed))]
        value["Signature"] = b"".join(
            varint.encode(field << 3 | 2) + varint.encode(len(it)) + it for field, it in parts
        )
        return self.store(value)

    def written(self):
        newest = None
        for number in range(1, 5):
            newest = self.advertisement(newest, 100 * number if number > 2 else number, number == 4)
        head = {
            "head": newest,
            "pubkey": public(self.key),
            "sig": sign(self.key, bytes(newest) + TOPIC.encode()),
            "topic": TOPIC,
        }
        return {
            "peer_id": base58.b58encode(peer_id(self.key)).decode(),
            "head": dag_json(head).decode(),
            "blocks": self.blocks,
        }


chains = {
    "ed25519": Chain(ed25519.Ed25519PrivateKey.generate(), "dag-json"),
    "rsa": Chain(rsa.generate_private_key(65537, 2048), "dag-json"),
    "secp256k1": Chain(ec.generate_private_key(ec.SECP256K1()), "dag-cbor"),
    "ecdsa": Chain(ec.generate_private_key(ec.SECP256R1()), "dag-cbor"),
}
for name, chain in chains.items():
    (FOLDER / f"chain-{name}.json").write_text(json.dumps(chain.written(), indent=1) + "\n")

# What go-libipni's own test of announce messages says (announce/message/message_test.go), and a web address.
cid = CID.decode("QmPNHBy5h7f19yJDt7ip9TvmMRbqmYsa6aetkrsc1ghjLB")
peer = "12D3KooWBckWLKiYoUX4k3HTrbrSe4DD5SPNTKgP6vKTva1NaRkJ"
texts = ["/ip4/127.0.0.1/tcp/2701", "/dns4/localhost/tcp/7663", "/dns4/repo.example/tcp/443/https"]
addresses = [Multiaddr(text).to_bytes() for text in texts]
link = cbor2.CBORTag(42, b"\0" + bytes(cid))
(FOLDER / "message.cbor").write_bytes(cbor2.dumps([link, addresses, b"t01000", peer]))
message = {
    "Cid": {"/": str(cid)},
    "Addrs": [base64.b64encode(it).decode() for it in addresses],
    "ExtraData": base64.b64encode(b"t01000").decode(),
    "OrigPeer": peer,
}
(FOLDER / "message.json").write_text(json.dumps(message, separators=(",", ":")))

# A block that is published as JSON and was CBOR: written anew, it has its own digest.
shown = json.loads((FOLDER / "index-provider.json").read_text())


def read(value):
    if isinstance(value, dict):
        value = value["/"]
        if isinstance(value, dict):
            return base64.b64decode(value["bytes"] + "==")
        return CID.decode(value)
    return value


# Its fields are in the order of their names, not in that of DAG-CBOR.
block = {name: read(value) for name, value in sorted(shown["advertisement"].items())}
for name, value in block.items():
    block[name] = cbor2.CBORTag(42, b"\0" + bytes(value)) if isinstance(value, CID) else value
block = cbor2.dumps(block)
digest = CID.decode(shown["cid"]).raw_digest
assert hashlib.blake2b(block, digest_size=32).digest() == digest, "another block"
(FOLDER / "index-provider.cbor").write_bytes(block)
