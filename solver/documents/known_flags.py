"""Flags that an engine's parser knows: those of one recorded release, and those that earlier ones had.

Every engine ends at once on a flag that it does not know, so a flag that is spelt nearly like a known one is a fault
of the plan, whatever it was meant to say. The lists (``flags/*.json``) name their release and source.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "flags"
NAMES = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
ALIKE, MEANT = 0.6, 0.82
"""Shares of equal characters: from the first on a known flag is named beside an unknown one, from the second on it is
taken for what was meant; a flag of another parser in front of the engine's (Dynamo's workers) must come closer."""
MEANT_BEHIND = 0.95
_FLAG = re.compile(r"--[A-Za-z][\w-]*")
_TURNED = re.compile(r"^(?:no-)?(?:enable-|disable-)?(?:no-)?")


@dataclass(frozen=True)
class Recorded:
    """The flags of one release, and the names of earlier ones, without dashes in front and with dashes between.

    ``short``: those behind one dash alone, which is a name of its own to argparse: vLLM knows ``-tp`` and no ``--tp``.
    """

    version: str
    flags: frozenset[str]
    earlier: frozenset[str]
    short: frozenset[str] = frozenset()


@dataclass(frozen=True)
class UnknownFlag:
    """A flag that an engine does not know, the known flag nearest to it (or an empty text), and what to say of it.

    ``meant``: it is spelt so nearly like the known one that it can be nothing else.
    """

    flag: str
    nearest: str
    meant: bool
    sentence: str


@cache
def recorded(engine: str) -> Recorded:
    """Return the recorded flags of an engine."""
    tree = json.loads((FOLDER / f"{engine}.json").read_text(encoding="utf-8"))
    long = [[flag for flag in tree[part] if flag.startswith("--")] for part in ("flags", "earlier")]
    short = frozenset(_bare(flag) for flag in tree["flags"] if not flag.startswith("--"))
    flags, earlier = (frozenset(map(_bare, names)) for names in long)
    return Recorded(tree["version"], flags, earlier, short)


def _bare(flag: str) -> str:
    return flag.lstrip("-").replace("_", "-")


@lru_cache(maxsize=1024)
def unknown_flag(engine: str, word: str, *, behind: bool = False) -> UnknownFlag | None:
    """Return what is to be said of a flag that the engine does not know; ``None``: it knows it, or it is no flag.

    Argument parsers take beginnings of flags and ``no-`` before a switch, vLLM parts of a flag behind a point.
    ``behind``: another program reads the words first and has flags of its own.
    """
    name = re.split(r"[=.\s]", word, maxsplit=1)[0]
    if engine not in NAMES or not _FLAG.fullmatch(name):
        return None
    known, bare = recorded(engine), _bare(name)
    if bare in known.short - known.flags - known.earlier and not behind:  # --ep is no -ep, but begins --eplb-config
        return UnknownFlag(name, f"-{bare}", True, _sentence(engine, name, f"-{bare}", meant=True))
    if bare.removeprefix("no-") in known.earlier | known.flags or _begins(engine, bare, known):
        return None
    nearest = next(iter(difflib.get_close_matches(bare, sorted(known.flags), n=1, cutoff=ALIKE)), "")
    meant = bool(nearest) and _is_meant(bare, nearest, MEANT_BEHIND if behind else MEANT)
    if behind and not meant:
        return None
    return UnknownFlag(name, _spelt(engine, nearest), meant, _sentence(engine, name, nearest, meant=meant))


def _begins(engine: str, bare: str, known: Recorded) -> bool:
    """Whether it is the beginning of a flag, which TensorRT-LLM's parser (click) does not take."""
    return engine != "trtllm" and any(flag.startswith(bare) for flag in known.flags)


def _is_meant(bare: str, nearest: str, least: float) -> bool:
    """Whether two names differ by their letters alone: what turns off and what turns on are no one flag."""
    turned, other = _TURNED.sub("", bare), _TURNED.sub("", nearest)
    if turned == other and bare != nearest:
        return False
    return difflib.SequenceMatcher(None, bare, nearest).ratio() >= least


def _spelt(engine: str, bare: str) -> str:
    if not bare:
        return ""
    return f"--{bare.replace('-', '_') if engine == 'trtllm' else bare}"


def _sentence(engine: str, name: str, nearest: str, *, meant: bool) -> str:
    said, release = f"{NAMES[engine]} has no flag {name}", recorded(engine).version
    spelt = nearest if nearest.startswith("-") else _spelt(engine, nearest)
    near = f"; the nearest is {spelt}" if nearest else ""
    if meant:
        return f"{said} and does not start with it{near}"
    return f"{said} in {release} nor in releases before it that are recorded, and does not start with it{near}"
