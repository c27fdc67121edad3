#!/usr/bin/python3
"""Reads a chain of advertisements as IPNI's specification has it, with nothing of ours: Ed25519 of the
cryptography package, base58, and the rest by hand.

    ipni_reader.py FOLDER PEER_ID       the folder has head, and blocks by their Cids

Prints a line of JSON for each advertisement, newest first. With any byte of any file changed it must fail, which
it tries itself.
"""

import base64
import hashlib
import json
import pathlib
import sys

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Bad(Exception):
    pass


def must(truth, why):
    if not truth:
        raise Bad(why)


def unique(pairs):
    must(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)


def dag_json(data):
    try:
        text = data.decode("ascii")
        value = json.loads(text, object_pairs_hook=unique)
    except ValueError as why:
        raise Bad(why)
    # DAG-JSON has one spelling: keys in order, no blanks.
    must(json.dumps(value, separators=(",", ":"), sort_keys=True) == text, "not DAG-JSON")
    return value


def fields(value, required, optional=()):
    must(isinstance(value, dict), "no map")
    must(set(required) <= set(value) <= set(required) | set(optional), f"fields {sorted(value)}")


def in_bytes(value):
    fields(value, ["/"])
    fields(value["/"], ["bytes"])
    text = value["/"]["bytes"]
    must(isinstance(text, str), "bytes are no text")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as why:
        raise Bad(why)
    must(base64.b64encode(data).decode().rstrip("=") == text, "base64 has another spelling")
    return data


def cid(text):
    must(isinstance(text, str) and text.startswith("b") and text == text.lower(), "no Cid")
    try:
        data = base64.b32decode(text[1:].upper() + "=" * (-len(text[1:]) % 8))
    except ValueError as why:
        raise Bad(why)
    must(base64.b32encode(data).decode().rstrip("=").lower() == text[1:], "a Cid's other spelling")
    return data


def link(value):
    fields(value, ["/"])
    return cid(value["/"])


def block(read, address):
    must(address[:5] == bytes([1, 0xA9, 2, 0x12, 0x20]), "a block of another kind")
    name = "b" + base64.b32encode(address).decode().rstrip("=").lower()
    data = read(name)
    must(hashlib.sha256(data).digest() == address[5:], "a block has another digest")
    return dag_json(data)


def public_key(protobuf):
    must(len(protobuf) == 36 and protobuf[:4] == bytes([8, 1, 18, 32]), "no Ed25519 key")
    return Ed25519PublicKey.from_public_bytes(protobuf[4:])


def peer_id(protobuf):
    return base58.b58encode(bytes([0, len(protobuf)]) + protobuf).decode()


def verify(key, signature, data):
    try:
        key.verify(signature, data)
    except InvalidSignature:
        raise Bad("a signature isn't the key's")


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(data):
    """The fields of a protobuf that has bytes alone."""
    found, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            must(at < len(data) and shift < 28, "a protobuf is cut off")
            value |= (data[at] & 127) << shift
            at += 1
            if not data[at - 1] & 128:
                return value
            shift += 7

    while at < len(data):
        tag = number()
        must(tag & 7 == 2 and tag >> 3 not in found, "an odd protobuf")
        size = number()
        must(at + size <= len(data), "a protobuf is cut off")
        found[tag >> 3] = data[at : at + size]
        at += size
    return found


def advertisement(value, publisher):
    required = "Addresses ContextID Entries IsRm Metadata Provider Signature".split()
    fields(value, required, ["PreviousID"])
    must(value["IsRm"] is False, "a removal")
    previous = link(value["PreviousID"]) if "PreviousID" in value else b""
    metadata = in_bytes(value["Metadata"])
    text = previous + link(value["Entries"]) + value["Provider"].encode()
    text += "".join(value["Addresses"]).encode() + metadata + b"\0"
    envelope = message(in_bytes(value["Signature"]))
    must(sorted(envelope) == [1, 2, 3, 5], "an odd envelope")
    must(envelope[2] == b"/indexer/ingest/adSignature", "an envelope of something else")
    must(envelope[3] == b"\x12\x20" + hashlib.sha256(text).digest(), "signed for something else")
    parts = [b"indexer", envelope[2], envelope[3]]
    verify(public_key(envelope[1]), envelope[5], b"".join(varint(len(it)) + it for it in parts))
    must(peer_id(envelope[1]) == publisher == value["Provider"], "signed by somebody else")
    return previous, metadata


def chain(read, publisher):
    head = dag_json(read("head"))
    fields(head, ["head", "pubkey", "sig", "topic"])
    newest, key = link(head["head"]), in_bytes(head["pubkey"])
    must(peer_id(key) == publisher, "somebody else's head")
    verify(public_key(key), in_bytes(head["sig"]), newest + head["topic"].encode())
    while newest:
        value = block(read, newest)
        newest, metadata = advertisement(value, publisher)
        chunk = block(read, link(value["Entries"]))
        fields(chunk, ["Entries"])
        must(metadata[:4] == varint(0x300000), "metadata of something else")
        yield {
            "addresses": value["Addresses"],
            "source": in_bytes(value["ContextID"]).decode(),
            "entries": [in_bytes(it).hex() for it in chunk["Entries"]],
            **json.loads(metadata[4:]),
        }


folder, publisher = pathlib.Path(sys.argv[1]), sys.argv[2]
files = {path.name: path.read_bytes() for path in folder.iterdir()}
for found in chain(files.__getitem__, publisher):
    print(json.dumps(found))

tried = 0
for name, data in files.items():
    for at in range(len(data)):
        for change in (1, 32):
            changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            try:
                list(chain({**files, name: changed}.__getitem__, publisher))
            except Bad:
                tried += 1
            except KeyError:
                # It names a block that isn't there.
                tried += 1
            else:
                sys.exit(f"byte {at} of {name} may be {changed[at]:#x}")
print(f"{tried} changes refused", file=sys.stderr)
