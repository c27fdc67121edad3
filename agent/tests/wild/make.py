#!/usr/bin/env python3
"""Writes the fixtures of wild.rs: package indexes and Releases with one oddity each.

Odd bytes are written out here, for editors hide them. A fixture that would be large is packed; the
test unpacks each. What is expected stands beside it, in `index/NAME.rows` and `release/NAME.says`,
and is not written here; it is removed where the fixture is.
"""

import gzip
import pathlib

HERE = pathlib.Path(__file__).parent

LAST = b"Package: last\nVersion: 1\nArchitecture: all\n"


def stanza(*lines, package=b"a", version=b"1", architecture=b"all"):
    """A stanza that gives a row, and these lines behind."""
    head = [b"Package: " + package, b"Version: " + version, b"Architecture: " + architecture]
    return b"\n".join([*head, *lines]) + b"\n"


def stanzas(*texts):
    return b"\n".join(texts)


def packed(text):
    return gzip.compress(text, 9, mtime=0)


FULL = stanza(
    b"Name: Full",
    b"Filename: debs/full.deb",
    b"Size: 4096",
    b"SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"Description: Short",
    b" long, with a dot",
    b" .",
    b"  and an indented line",
    b"Author: Ann <ann@example.org>",
    b"Maintainer: Bob <bob@example.org>",
    b"Depiction: https://example.org/d",
    b"Native-Depiction: https://example.org/n.json",
    b"SileoDepiction: https://example.org/s.json",
    b"Header: https://example.org/h.png",
    b"Tint-Color: #ff0000",
    b"Icon: https://example.org/i.png",
    b"Section: Tweaks",
    b"Tag: role::enduser, cydia::commercial",
    b"Installed-Size: 12",
    b"Depends: mobilesubstrate",
    package=b"org.example.full",
    version=b"1:2.0-3",
    architecture=b"iphoneos-arm",
)

VERSIONS = [
    b"v1.0", b"1 0", b"a:1", b":1", b"1:", b"-1", b"-", b"~", b"1.0-", b"1--2", b"1:2:3",
    b"99999999999999999999:1", b"0.0.0.0.0.0", b"1.0_beta+caf\xc3\xa9", b"1.0 (build 7)",
    b"\xf0\x9f\x92\xa9", b"00001", b"1." + b"9" * 200,
]  # fmt: skip

FILENAMES = [
    b"./debs/a.deb", b"../debs/a.deb", b"/debs/a.deb", b"debs//a.deb", b"debs/../../a.deb",
    b"https://example.org/a.deb", b"download.php?id=7&v=1.0", b"debs/a b (1).deb", b"debs/a%20b.deb",
    b"debs\\a.deb", b".", b"",
]  # fmt: skip

SIZES = [b"12 KB", b"-1", b"", b"1e3", b"1.5", b"0x10", b"  12  ", b"1,024", b"\xd9\xa3",
         b"9223372036854775807", b"9223372036854775808", b"99999999999999999999999"]  # fmt: skip

INDEXES = {
    # Line ends and separators.
    "line-ends-crlf": stanzas(FULL, LAST).replace(b"\n", b"\r\n"),
    "line-ends-mixed": b"Package: a\r\nVersion: 1\nArchitecture: all\r\r\nDescription: a\n b\r\n c\n"
    b"\r\nPackage: b\r\nVersion: 1\r\nArchitecture: all\n\r\r\n" + LAST,
    "line-ends-cr": LAST.replace(b"\n", b"\r"),
    "line-ends-none": FULL + b"\n" + LAST[:-1],
    "line-ends-half": FULL + b"\r\n" + LAST[:-1] + b"\r",
    "separators-with-blanks": stanza() + b" \n" + stanza() + b"\t\n" + stanza() + b" \t \r\n" + LAST,
    "separators-many": b"\n\n \n\r\n\n" + stanza() + b"\n\n\n\n\n" + LAST + b"\n\n\n",
    "separators-form-feed": stanza() + b"\x0c\n" + LAST + b" \x0c\n" + LAST,
    # Lines of blanks that stand in a value, as an editor leaves them.
    "blanks-in-a-description": stanzas(
        stanza(b"Description: first", b" second", b" ", b" third", b"Name: Nice", b"Author: Ann"), LAST),
    "blanks-in-a-row": stanzas(
        stanza(b"Description: first", b" ", b"\t", b" # no comment", b"  \t", b" last", b"Name: Nice"), LAST),
    "blanks-behind-a-description": stanzas(
        stanza(b"Description: first", b" second", b" ", b"\t", b"Name: Nice", b"Author: Ann"), LAST),
    "blanks-after-the-first-line": stanzas(
        stanza(b"Description:", b" ", b" text", b"Tag: a,", b" ", b" b", b"Section: One", b"   ", b" Two"), LAST),
    "blanks-with-crlf": stanzas(
        stanza(b"Description: first", b" ", b" third", b"Name: Nice"), LAST).replace(b"\n", b"\r\n"),
    "blanks-and-a-comment": stanzas(
        stanza(b"Description: first", b" ", b"# no", b" third", b"Name: Nice"), LAST),
    "blanks-before-a-repeated-field": stanza(b"Name: One") + b" \n" + b"Version: 2\nPackage: b\n"
    b"Architecture: all\nName: Two\n\t\n" + LAST,
    "blanks-at-the-end": LAST + b"Description: first\n second\n \n\t\n",
    "blanks-then-an-empty-line": stanza(b"Description: first", b" ") + b"\n stray\n" + LAST,
    # Encodings.
    "mark": b"\xef\xbb\xbf" + stanzas(stanza(), LAST),
    "mark-and-blank-line": b"\xef\xbb\xbf\r\n" + stanzas(stanza(), LAST),
    "mark-in-the-middle": b"\xef\xbb\xbf" + stanza() + b"\n\xef\xbb\xbf" + stanza() + b"\n" + LAST,
    "utf-16": b"\xff\xfe" + LAST.decode().encode("utf-16-le"),
    "latin-1": stanzas(
        stanza(b"Name: Caf\xe9", b"Author: Jos\xe9 <jose@example.org>", b"Section: \xdcbersicht"),
        stanza(b"Description: caf\xc3\xa9 is UTF-8", b" caf\xe9 is not", b" caf\xc3\xa9 again"),
        stanza(b"Tag: a\xe9, b", package=b"caf\xe9"),
        LAST,
    ),
    "utf-8-broken": stanzas(
        stanza(b"Name: cut \xe2\x82"),
        stanza(b"Name: lone \x80\xbf"),
        stanza(b"Name: overlong \xc0\xaf"),
        stanza(b"Name: surrogate \xed\xa0\x80"),
        stanza(b"Name: too large \xf4\x90\x80\x80"),
        stanza(b"Name: \xff\xfe"),
        stanza(b"Name: replaced before \xef\xbf\xbd"),
        LAST,
    ),
    "nul-bytes": stanzas(
        stanza(b"Name: a\0b\0", b"Author: \0", b"Na\0me: c", b"\0\0\0"),
        stanza(b"Description: a", b" \0", b" b\0", package=b"a\0a"),
        stanza(version=b"\0"),
        LAST + b"\0" * 64,
    ),
    "nul-bytes-at-the-end": LAST + b"\n" + b"\0" * 512,
    "control-characters": stanza(
        b"Name: \x1b[31mred\x1b[0m \x7f\x08\x0b\x0c.",
        b"Author: \xc2\x85next\xe2\x80\x8bzero",
        b"Section: a\tb",
        b"Description: a\x07",
        b" \x01",
    ),
    # Fields.
    "every-field": FULL,
    "field-case": b"PACKAGE: a\nversion: 1\naRCHITECTURE: all\nfileName: x.deb\nSIZE: 1\nsha256: ab\n"
    b"tint-color: #fff\nsileoDepiction: s\nInstalled-size: 2\n",
    "folded": stanza(
        b"Depends: a,",
        b" b (>= 1),",
        b" Version: 9",
        b"Author: Ann",
        b" Name: not a name",
        b"\tBob",
        b"Description: short",
        b" Package: not a package",
        b" Architecture: nor an architecture",
        b" .",
        b"\ttab",
        b" ..",
        b"Tag: a,",
        b" b::c, d",
        b" e",
        b"Name:",
        b" on the next line",
    ),
    "keys-without-values": stanzas(
        stanza(b"Name:", b"Author: ", b"Tag:", b"Description:", b"Size:", b"Depends:", b"Icon:\t"),
        stanza(version=b""),
        LAST,
    ),
    "no-blank-after-colon": b"Package:a\nVersion:1:2\nArchitecture:all\nName::x\nDescription:a\n b:c\n",
    "blank-before-colon": b"Package : a\nVersion\t: 1\nArchitecture  :all\n",
    "leading-blank": b" Package: a\nVersion: 1\nArchitecture: all\n\n  Package: b\n\n" + LAST,
    "lines-without-colon": b"junk before\n" + stanza(b"junk within", b"Name: x") + b"\njunk between\n\n"
    + stanza(b"Description: a", b"junk in a folded value", b" b", b"Tag: a,", b"junk, junk", b" b")
    + b"\n" + LAST + b"junk behind\n",
    "comments": b"# first: line\n" + stanza(b"# Name: no", b"Name: yes", b"#")
    + b"\n# alone: 1\n#Package: b\n\n"
    + stanza(b"Description: a", b"# in a folded value", b" b", b" # not a comment") + b"\n" + LAST,
    "fields-twice": stanzas(
        stanza(b"Name: first", b"Name: second", b"name: third", b"Tag: a", b"Tag: b"),
        stanza(b"Size: x", b"Size: 7", b"Name:", b"Name: second", b"Description: a", b"DESCRIPTION: b"),
        b"Package: a\nPackage: b\nVersion: 1\nArchitecture: all\n",
        LAST,
    ),
    "fields-many": packed(b":\n" * 300_000 + b"\n" + LAST),
    "field-names-odd": stanza(
        b": no name", b"N" * 300 + b": long", b"a b c: blanks", b"\xff\xfe: bytes", b"Name\xc2\xa0: x",
        b"-: dash", b"https://example.org/: url",
    ),
    "fields-stray": stanzas(
        stanza(b"dev: sam", b"Conflict: b", b"Descripton: typo", b"Size : 5"),
        stanza(b"", package=b"gsc.camera-flash"),
        stanza(package=b"cy+cpu.arm64"),
        stanza(package=b"firmware", version=b"14.3"),
        LAST,
    ),
    # Stanzas.
    "stanzas-twice": stanzas(FULL, FULL, stanza(b"Size: 1"), stanza(b"Size: 2"), LAST),
    "stanzas-without": stanzas(
        stanza(),
        b"Version: 1\nArchitecture: all\n",
        b"Package: a\nArchitecture: all\n",
        b"Package: a\nVersion: 1\n",
        b"Name: nothing\n",
        LAST,
    ),
    "stanzas-bare": stanzas(stanza(), stanza(b"MD5sum: x"), stanza(b"SHA512: " + b"a" * 128), LAST),
    "several-of-one-id": stanzas(*[
        stanza(version=version, package=package)
        for package in (b"org.example.a", b"org.example.A")
        for version in (b"1", b"1.0", b"2~beta", b"2")
    ], stanza(package=b"org.example.a", architecture=b"iphoneos-arm64")),
    "sizes": stanzas(*[stanza(b"Size: " + n, b"Installed-Size: " + n) for n in SIZES]),
    "versions": stanzas(*[stanza(version=version) for version in VERSIONS], stanza(version=b""), LAST),
    "filenames": stanzas(*[stanza(b"Filename: " + name) for name in FILENAMES]),
    "tags": stanzas(
        stanza(b"Tag: ,, a ,, b,"),
        stanza(b"Tag: cydia::commercial"),
        stanza(b"Tag: purpose::uikit", b" cydia::commercial"),
        stanza(b"Tag: xcydia::commercial"),
        stanza(b"Tag: " + b"t," * 257),
        LAST,
    ),
    # Sizes.
    "lines-long": packed(stanzas(
        stanza(b"Depends: " + b"x" * 700_000, b"Name: a"),
        stanza(b"Name: " + b"n" * 131_072),
        stanza(b"Description: a", *[b" line"] * 30_000),
        LAST,
    )),
    "stanza-too-long": packed(stanza() + b"\n" + stanza(b"Depends: " + b"x" * 1_100_000) + b"\n" + LAST),
    # What is no package index.
    "empty": b"",
    "blank": b"\n\r\n \n",
    "html": b"<!DOCTYPE html>\n<html>\n<head><title>Not found</title></head>\n<body>\n\n"
    b"<h1>Not found</h1>\n</body>\n</html>\n",
    "html-with-colons": b"<!DOCTYPE html>\n<html>\n<style>\nbody { color: red }\n</style>\n\n"
    b'<a href="https://example.org/">home</a>\n  <p>indented: text</p>\n</html>\n',
    "json": b'{"error": "not found",\n "status": 404}\n',
    "clear-signed": b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + LAST
    + b"-----BEGIN PGP SIGNATURE-----\n\niQ==\n=abcd\n-----END PGP SIGNATURE-----\n",
    "page-before-an-index": b"<br />\n<b>Warning</b>: something on line <b>3</b><br />\n" + LAST
    + b"\n" + LAST,
}  # fmt: skip

MD5 = b"0123456789abcdef0123456789abcdef"
SHA1 = b"01234567" * 5
SHA256 = b"01234567" * 8
SHA512 = b"01234567" * 16


def listed(digest, *sizes_and_paths):
    return b"".join(b" %s %d %s\n" % (digest, size, path) for size, path in sizes_and_paths)


PLAIN_AND_GZ = ((900, b"Packages"), (400, b"Packages.gz"))
HEAD = b"Origin: Example\nLabel: Example Repository\nSuite: stable\nVersion: 1.0\n" \
    b"Date: Sat, 11 Jul 2026 10:16:37 UTC\nDescription: A repository\n"  # fmt: skip
WHOLE = HEAD + b"SHA256:\n" + listed(SHA256, *PLAIN_AND_GZ)
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\nVersion: 9\n\niQ==\n=abcd\n-----END PGP SIGNATURE-----\n"


def signed(text):
    return b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + text + SIGNATURE


RELEASES = {
    "whole": WHOLE,
    "line-ends-crlf": WHOLE.replace(b"\n", b"\r\n"),
    "line-ends-none": WHOLE[:-1],
    "mark": b"\xef\xbb\xbf" + WHOLE,
    "field-case": WHOLE.replace(b"Date", b"DATE").replace(b"SHA256", b"Sha256").replace(b"Label", b"label"),
    "fields-twice": HEAD + b"Label: no\nVersion: 2.0\nDescription: no\nDate: Thu, 01 Jan 1970 00:00:00 UTC\n",
    "latin-1": b"Label: Caf\xe9 D\xe9j\xe0\nDescription: caf\xc3\xa9\0 \x1b[0m\nArchitectures: all\n",
    "keys-without-values": b"Origin: Example\nLabel:\nVersion: \nDate:\nSHA256:\n",
    "origin-only": b"Origin: Example\n",
    "payment-gateway": HEAD + b"Payment-Gateway: https://example.org/pay/\n",
    # Dates.
    "dates-unparsable": b"Origin: Example\nDate: 2026-07-11T10:16:37Z\nValid-Until: next week\n",
    "dates-other-zone": b"Origin: Example\nDate: Sat, 11 Jul 2026 12:16:37 +0200\n",
    "valid-until-past": b"Origin: Example\nDate: Thu, 01 Jan 2015 00:00:00 UTC\n"
    b"Valid-Until: Thu, 08 Jan 2015 00:00:00 UTC\n",
    # Hash lists.
    "md5-only": HEAD + b"MD5Sum:\n" + listed(MD5, *PLAIN_AND_GZ),
    "sha1-only": HEAD + b"SHA1:\n" + listed(SHA1, *PLAIN_AND_GZ),
    "sha512-only": HEAD + b"SHA512:\n" + listed(SHA512, *PLAIN_AND_GZ),
    "md5-and-sha512": HEAD + b"MD5Sum:\n" + listed(MD5, *PLAIN_AND_GZ)
    + b"SHA512:\n" + listed(SHA512, (400, b"Packages.gz")),
    "strongest-first": HEAD + b"SHA512:\n" + listed(SHA512, (900, b"Packages"))
    + b"SHA256:\n" + listed(SHA256, (901, b"Packages")) + b"MD5Sum:\n" + listed(MD5, (902, b"Packages")),
    "hash-field-without-colon": HEAD + b"MD5Sum\n" + listed(MD5, *PLAIN_AND_GZ)
    + b"SHA1 \n" + listed(SHA1, *PLAIN_AND_GZ),
    "hash-lines-without-blank": HEAD + b"SHA256:\n"
    + listed(SHA256, *PLAIN_AND_GZ).replace(b"\n ", b"\n").lstrip() + b"Codename: x\n",
    "hash-lines-uneven": HEAD + b"SHA256:\n\t" + SHA256.upper() + b"\t\t900   Packages  \n    "
    + SHA256 + b" 00400\t./Packages.gz more words\n",
    "hash-lines-bad": HEAD + b"SHA256:\n " + SHA256[1:] + b" 900 Packages\n " + SHA256 + b" big Packages\n "
    + SHA256 + b" -1 Packages\n " + SHA256 + b" 900\n g" + SHA256[1:] + b" 900 Packages\n "
    + SHA256 + b"\n \n" + SHA256 + b" 99999999999999999999 Packages\n" + listed(SHA256, (7, b"Packages.xz")),
    "hash-list-of-others": HEAD + b"SHA256:\n" + listed(
        SHA256, (1, b"Packages.diff/Index"), (2, b"Packages.lz4"), (3, b"main/binary-amd64/Packages"),
        (4, b"Contents"), (5, b"XPackages"), (6, b"packages"), (7, b"../Packages")),
    "hash-list-empty": HEAD + b"SHA256:\n",
    "hash-list-twice": HEAD + b"SHA256:\n" + listed(SHA256, (900, b"Packages"))
    + b"SHA256:\n" + listed(SHA256[::-1], (901, b"Packages")),
    "all-compressions": HEAD + b"SHA256:\n" + listed(SHA256, *[
        (n, b"Packages" + suffix)
        for n, suffix in enumerate([b"", b".bz2", b".gz", b".lzma", b".xz", b".zst"], 1)]),
    "dot-paths": HEAD + b"SHA256:\n" + listed(SHA256, (900, b"./Packages"), (400, b"./Packages.gz")),
    "by-hash": HEAD + b"Acquire-By-Hash: YES\nSHA256:\n" + listed(SHA256, *PLAIN_AND_GZ),
    "dists": HEAD + b"SHA256:\n" + listed(
        SHA256, (1, b"main/binary-amd64/Packages.xz"), (2, b"main/binary-arm64/Packages.xz"),
        (3, b"main/binary-amd64/Release"), (4, b"Packages.xz")),
    # Clear-signed.
    "clear-signed": signed(WHOLE),
    "clear-signed-crlf": b"\r\n" + signed(WHOLE).replace(b"\n", b"\r\n"),
    "clear-signed-escapes": signed(
        b"Origin: Example\n- -----BEGIN PGP SIGNATURE-----\n- Label: Escaped\nDescription: - kept\n"),
    "clear-signed-and-more": signed(WHOLE) + b"\nLabel: evil\nVersion: 9\nSHA512:\n"
    + listed(SHA512, (1, b"Packages")),
    "clear-signed-cut": signed(WHOLE).replace(SIGNATURE, b""),
    # What is no Release.
    "empty": b"",
    "blank": b"\n \r\n",
    "html": b"<!DOCTYPE html>\n<html>\n<style>\nbody { color: red }\n</style>\n"
    b'<a href="https://example.org/">home</a>\n</html>\n',
    "line-too-long": packed(HEAD + b"Description: " + b"x" * 70_000 + b"\n"),
}  # fmt: skip

for folder, fixtures, suffix in (("index", INDEXES, ".rows"), ("release", RELEASES, ".says")):
    (HERE / folder).mkdir(exist_ok=True)
    for path in (HERE / folder).iterdir():
        if path.name.removesuffix(suffix) not in fixtures:
            path.unlink()
    for name, content in fixtures.items():
        (HERE / folder / name).write_bytes(content)
