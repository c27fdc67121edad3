"""The whole job with python3-apt, the yardstick of `make bench` for what a script would do: fetches a
package index, hashes and unpacks it, and prints seven fields of each stanza as JSON. Usage:
whole_job.py URL SHA256."""

import hashlib
import json
import sys
import tempfile
import urllib.request

import apt_pkg

FIELDS = "Package Version Architecture Filename Size SHA256 Description".split()

url, expected = sys.argv[1:]
apt_pkg.init()
with tempfile.NamedTemporaryFile(suffix=url[url.rindex("."):]) as packed:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url) as body:
        while piece := body.read(65536):
            digest.update(piece)
            packed.write(piece)
    packed.flush()
    if digest.hexdigest() != expected:
        sys.exit("the digest differs")
    # It unpacks by itself what apt can.
    for stanza in apt_pkg.TagFile(packed.name):
        print(json.dumps([stanza.get(field) for field in FIELDS]))
