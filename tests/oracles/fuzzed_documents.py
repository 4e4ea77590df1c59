"""Hostile documents: cut, shuffled, binary, huge, deeply nested, with aliases, tags and escape codes."""

from __future__ import annotations

import random
import re

ODD_NUMBERS = (b"0", b"-1", b"99999999999999999", b"1e99", b"nan", b"0.0", b"1" * 400, b"3")
ODD_BYTES = b"\x1b[31m\x07\x00\x7f0123456789|:-=#*{}[]&!%@\n\xff"


def mutate(chance: random.Random, text: bytes) -> bytes:
    """One hostile change to a document."""
    lines = text.split(b"\n")
    kinds = {
        0: lambda: text[: chance.randrange(len(text) + 1)],
        1: lambda: b"\n".join(chance.sample(lines, len(lines))),
        2: lambda: bytes(chance.randrange(256) for _ in range(chance.randrange(2000))),
        3: lambda: text * chance.randrange(1, 60),
        4: lambda: b"[" * chance.randrange(100_000) + text,
        5: lambda: b"{a: " * chance.randrange(5000) + text,
        6: lambda: b"a: &a [x,x]\n" + b"".join(b"b%d: &b%d [*a,*a]\n" % (n, n) for n in range(20)),
        7: lambda: b"- " * chance.randrange(50_000) + b"x: 1\n",
        8: lambda: sprinkle(chance, text),
        9: lambda: text.replace(b": ", b": \x1b[2J\x1b]0;title\x07").replace(b"4", b"4\x1b[31m\xc2\x9b5m"),
        10: lambda: b"!!python/object/apply:os.system ['exit 1']\n" + text,
        11: lambda: re.sub(rb"\d+", lambda _: chance.choice(ODD_NUMBERS), text),
        12: lambda: b"\n".join(chance.choice(lines) for _ in range(chance.randrange(3000))),
        13: lambda: b"| a " * chance.randrange(3000) + b"\n" + b"|---" * 3000 + b"\n" + text,
        14: lambda: text + b"x" * 3_000_000,
        15: lambda: "\u202eevil\u2066 4\u00d7 \U0001f600".encode() + text,
    }
    return kinds[chance.randrange(len(kinds))]()


def sprinkle(chance: random.Random, text: bytes) -> bytes:
    changed = bytearray(text or b"x")
    for _ in range(chance.randrange(1, 200)):
        changed[chance.randrange(len(changed))] = chance.choice(ODD_BYTES)
    return bytes(changed)


def hostile(seed: int, originals: list[bytes]) -> tuple[bytes, str]:
    """A hostile document and the ending it comes with."""
    chance = random.Random(seed)
    text = mutate(chance, chance.choice(originals))
    if chance.random() < 0.4:
        text = mutate(chance, text or b"x")
    return text, chance.choice((".md", ".yaml", ".json", ".txt", ".sh", "", ".py", ".ipynb", ".env", ".service"))
