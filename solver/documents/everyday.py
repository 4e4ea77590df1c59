"""Everyday phrases: ``8 H100``, ``4k in and 500 out``, ``4k/500 tokens``, ``KV cache 20 GB per GPU``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from shardproof.solver.documents.named import DEVICE
from shardproof.solver.documents.quantities import told_behind
from shardproof.solver.documents.scopes import bare_total, scoped
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.text import MAX_LINE
from shardproof.solver.documents.values import POWERS, make


@dataclass(frozen=True)
class Phrase:
    """A statement and the place in the text that it was read from."""

    start: int
    end: int
    statement: Statement


def _tokens(name: str) -> str:
    alone = r"(?<![\w./,-])" if name == "a" else ""
    return (
        rf"{alone}(?P<{name}>\d{{1,7}}(?:,\d{{3}})*(?:\.\d{{1,3}})?)(?:\s?(?P<{name}_k>k)(?![a-z]))?"
        r"(?:[- ]?tok(?:en)?s?\b)?"
    )


_AND = r"\s*(?:,|/|\+|&|;|\||->|\band\b|\bto\b|\bplus\b|\bwith\b|\bthen\b)*\s*"
_IS = r"(?: (?:tokens?|lengths?|sizes?))?\s*(?:=|:|\bof\b|\bis\b|~)?\s*"
_IN = r"(?:in(?:puts?)?|prompts?|isl|prefill)\b(?: tokens?\b)?"
_OUT = r"(?:out(?:puts?)?|generated|osl|decode|completions?)\b(?: tokens?\b)?"
_NO_RATE = r"(?!\s*(?:/|per) ?s(?:ec(?:ond)?)?\b)(?! (?:in )?total)"
_TELLS = re.compile(
    r"in ?/ ?out|\dk ?/|\d[^a-z]*(?:k )?(?:in|out)\b|tok|prompt|put|[io]sl|concurren|request|sequen|user|client"
    r"|answer|repl|resp"
)
_PAIRS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_tokens('a')}\s*{_IN}{_AND}{_tokens('b')}\s*{_OUT}{_NO_RATE}",
        rf"\b{_IN}\s*/\s*{_OUT}{_IS}{_tokens('a')}\s*/\s*{_tokens('b')}{_NO_RATE}",
        rf"\b{_IN}{_IS}{_tokens('a')}{_AND}{_OUT}{_IS}{_tokens('b')}{_NO_RATE}",
        r"(?<![\w./,-])(?P<a>\d{1,4})(?P<a_k>k)\s?/\s?(?P<b>\d{1,7})(?P<b_k>k)?\b(?![./]| ?[a-z])",
        r"(?<![\w./,-])(?P<a>\d{1,7}(?:\.\d{1,3})?)(?P<a_k>k)?\s?/\s?(?P<b>\d{1,7}(?:\.\d{1,3})?)(?P<b_k>k)?"
        rf"[ -]?(?:tok(?:en)?s?\b|\(?in(?:put)?\s?/\s?out(?:put)?\)?){_NO_RATE}",
        r"(?<![\w./,-])(?P<a>\d{1,7}(?:,\d{3})*)(?P<a_k>k)?\s?\+\s?(?P<b>\d{1,7}(?:,\d{3})*)(?P<b_k>k)?"
        rf"[ -]?tok(?:en)?s?\b{_NO_RATE}",
    )
)
_SURE = r"(?=[\d.,]{1,12} ?(?:k(?![a-z])|-?tok))"
"""A number that says itself that it counts tokens."""
_LONE = tuple(
    (field, re.compile(pattern))
    for field, pattern in (
        ("input_tokens", rf"{_SURE}{_tokens('a')}[- ](?:long )?{_IN}(?! ?/){_NO_RATE}"),
        ("output_tokens",
            rf"{_SURE}{_tokens('a')}[- ](?:long )?(?:{_OUT}|answers?|repl(?:y|ies)|responses?"
            rf"|generations?)\b{_NO_RATE}"),
        ("input_tokens", rf"\b(?:isl\b{_IS}|(?:prompts|inputs) of ){_tokens('a')}{_NO_RATE}"),
        ("output_tokens",
            rf"\b(?:osl\b{_IS}|(?:outputs|answers|replies|responses|completions) of ){_tokens('a')}{_NO_RATE}"),
    )
)  # fmt: skip
_COUNTS = tuple(
    (field, re.compile(pattern))
    for field, pattern in (
        ("batch", r"\b(?P<a>\d{1,6}) (?:requests|prompts|sequences|users)(?: at (?:a time|once)| in parallel"
                  r"| (?:of|with) (?=\d))"),
        ("batch", r"\bconcurrency(?: of| is| =|:)? (?P<a>\d{1,6})\b(?![.,]?\d)"),
        ("batch", r"\b(?P<a>\d{1,6}) concurrent\b"),
    )
)  # fmt: skip
_BESIDE = (
    ("batch", re.compile(r"\b(?P<a>\d{1,6}) (?:users|requests|prompts|sequences|clients)\b(?! ?(?:/|per\b|an?\b))")),
)
"""Counts that are those of requests at once beside lengths of prompt and answer."""
_BYTES = r"(?=\d[\d.,]{0,9} ?[kmgt]i?b\b)"
_MEMORY = tuple(
    (field, re.compile(pattern))
    for field, pattern in (
        ("kv_total", rf"\bkv(?:[ -]cache)?(?: memory| size)?(?: is| of| takes| needs| at| about|:| =| ~)? {_BYTES}"),
        ("weights_total", rf"\bweights?(?: is| are| of| at| about|:| =| ~)? {_BYTES}"),
        ("activations", rf"\bactivations?(?: memory| workspace)?(?: is| are| of| at| about|:| =| ~)? {_BYTES}"),
        ("kv_total", r"(?<![\w.,-])(?=\d[\d.,]{0,9} ?[kmgt]i?b (?:of )?(?:the )?kv(?:[ -]cache)?\b)"),
        ("weights_total", r"(?<![\w.,-])(?=\d[\d.,]{0,9} ?[kmgt]i?b (?:of )?(?:the )?(?:model )?weights\b)"),
        ("activations", r"(?<![\w.,-])(?=\d[\d.,]{0,9} ?[kmgt]i?b (?:of )?(?:the )?activations?\b)"),
    )
)  # fmt: skip
_SET_ASIDE = r"(?:pool|space|budget|room|capacity|allocation)"
_POOLS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bkv(?:[ -]cache)? {_SET_ASIDE}(?: size)?(?: is| of|:| =|,)? {_BYTES}",
        rf"\b(?:reserv|allocat)\w* {_BYTES}(?=[^.;]{{3,40}}\b(?:for|to) (?:the )?kv[ -]?cache)",
        rf"(?<![\w.,-])(?={_BYTES[3:-1]} (?:[a-z]+ ){{0,4}}?(?:reserved|allocated|set aside)"
        r" (?:for|to) (?:the )?kv[ -]?cache)",
        rf"(?<![\w.,-])(?={_BYTES[3:-1]} (?:of )?(?:the )?kv(?:[ -]cache)? {_SET_ASIDE}\b)",
    )
)
"""Memory that a GPU sets aside for KV caches."""
_NUMBER = r"\d[\d.,]{0,12}"
_TIME = r"(?:[mu]?s|m?secs?|(?:milli|micro)?seconds?)"
_PERIOD = r"(?:hour|hr|h|day|month|year)\b"
_MONEY = rf"(?<![\w.,$-])(?=(?:\$ ?)?{_NUMBER} ?(?:usd|dollars?|\$)? ?(?:per|an?|/)"
_FIGURES = tuple(
    (field, dimension, re.compile(pattern))
    for field, dimension, pattern in (
        ("ttft", "time",
            r"\bfirst token (?:comes |arrives |appears |is (?:out |there )?)?(?:after|in|at)"
            r"(?: about| roughly| around| some)? (?=\d)"),
        ("ttft", "time",
            rf"(?<![\w.,-])(?={_NUMBER} ?{_TIME} (?:to|until|till|before|for)"
            r" (?:the |a |its )?first token\b)"),
        ("tpot", "time",
            rf"(?<![\w.,-])(?={_NUMBER} ?{_TIME} (?:per|a|for each|for every|between)"
            r" (?:output |generated |further |decoded |two )?tokens?\b)"),
        ("price", "price", rf"{_MONEY} ?gpu(?:[ -]| per | and | an )?{_PERIOD})"),
        ("price_total", "price", rf"{_MONEY} ?{_PERIOD})"),
    )
)  # fmt: skip
"""Figures with their unit whose words stand around them."""
_SUM = re.compile(
    rf"(?<![\w.,-])(?={_NUMBER} ?[kmgt]i?b (?:of (?:gpu |device )?memory )?"
    r"(?:in total|in all|altogether|overall|total)\b)"
)
_OF_A_PART = re.compile(
    r"\b(?:kv|caches?|weights?|activations?|buffers?|workspace|ram|host|disk|checkpoint|download\w*|files?|images?)\b"
    r"|\b(?:with|has|have|offers?|provides?|gives?|of|having|each)\s*$"
)
"""What a sum of bytes may be of beside what a plan takes: one part of it, or what the hardware has."""
_DEVICES = re.compile(rf"(?<![\w.,/-])(?P<n>\d{{1,4}}) ?(?:x|X|\*)? ?(?:(?i:nvidia|amd) )?(?:{DEVICE})(?:s\b|\b)")
_BEHIND = re.compile(rf"\b(?:{DEVICE}) ?(?:x|X|\*) ?(?P<n>\d{{1,4}})\b(?![.,]?\d)")
_NAMELESS = re.compile(r"(?i)(?:^|[,;]\s*|\bon )(?P<n>\d{1,4}) (?:gpus?|accelerators?|cards?)(?=\s*(?:[,;.]|$))")
_PARTS = re.compile(
    r"(?i)\b(?:each|every|per|an?|stages?|modules?|pools?|prefill|decode|groups?|nodes?|over|across|ranks?|experts?)\b"
)
"""What a count without a device's name may be of, beside the whole plan."""
_OTHERS = re.compile(
    r"\b(?:or|either|instead|would|could|might|may|compared|versus|vs|unlike|than|alternatively|if|when|fall ?back"
    r"|later|previously|formerly|upgrade|benchmark\w*|tested|measured|spare|standby|not|e\.g|example|at least"
    r"|minimum)\b"
)
"""What a sentence says of another deployment, or leaves open."""
_SPARE = re.compile(
    r"\b(?:leav\w+|remain\w*|free|available|room|space|budget|reserv\w+|pool|capacity|up to|allocat\w+|left|limit\w*"
    r"|max\w*|spare|headroom)\b"
)
"""Memory that is there for something, which need not be what it takes."""


def everyday(entry: Entry, text: str, section: str) -> list[Phrase]:
    """Return what the everyday phrases of a text say, with their places."""
    lower = text.lower()
    if len(lower) != len(text) or len(text) > MAX_LINE:
        return []
    found = _workload(entry, lower, section)
    if _OTHERS.search(lower):
        return found
    sizes = _pools(entry, text, section) if _SPARE.search(lower) else _memory(entry, text, section)
    return found + sizes + _figures(entry, text, section) + _devices(entry, text, section)


def _workload(entry: Entry, lower: str, section: str) -> list[Phrase]:
    found: list[Phrase] = []
    if not _TELLS.search(lower):
        return found
    for pattern in _PAIRS:
        for match in pattern.finditer(lower):
            pair = (("input_tokens", "a"), ("output_tokens", "b"))
            found += [_phrase(match, name, _count(entry, field, match, name, section)) for field, name in pair]
        if found:
            break
    counts = (*_COUNTS, *_BESIDE) if found else _COUNTS
    for field, pattern in (*_LONE, *counts):
        if all(phrase.statement.field != field for phrase in found):
            ones = [(match, _count(entry, field, match, "a", section)) for match in pattern.finditer(lower)]
            found += [_phrase(match, "a", statement) for match, statement in ones]
    return found


def _phrase(match: re.Match[str], name: str, statement: Statement) -> Phrase:
    return Phrase(match.start(name), match.end(name), statement)


def _count(entry: Entry, field: str, match: re.Match[str], name: str, section: str) -> Statement:
    """A number of tokens or requests; ``4k`` is 4,096 as everywhere, ``3k`` 3,000."""
    number = Fraction(match[name].replace(",", ""))
    is_thousands = match.groupdict().get(f"{name}_k") is not None
    scale = Fraction(1000 if is_thousands else 1)
    if is_thousands and number in POWERS:
        scale = Fraction(1024)
    statement = make(entry, field, Fraction(round(number * scale)), section)
    return replace(statement, scale=scale, unit="k") if is_thousands else statement


def _memory(entry: Entry, text: str, section: str) -> list[Phrase]:
    found = []
    own = entry.key if entry.key != "heading" else ""
    for field, pattern in _MEMORY:
        for match in pattern.finditer(text.lower(), len(own) + 1 if own else 0):
            told = told_behind(text, match.end(), "bytes")
            if told is None:
                continue
            quantity, placed = told
            about = Entry(entry.line, entry.text, entry.sections, "", text[match.end() :], "")
            made = make(about, field, quantity.value, section, quantity)
            bound = scoped(made, placed, text, heading=own)
            is_behind = pattern.pattern.startswith("(?<!")  # 65 GB of weights: of any model, where no scope is said
            if bound is not None and (bound.field != field or not is_behind or not bare_total(field)):
                found.append(Phrase(placed.start, placed.end, bound))
    return found


def _figures(entry: Entry, text: str, section: str) -> list[Phrase]:
    """Times, prices and sums of memory that running text names by the words around them."""
    found: list[Phrase] = []
    sums = (("memory_total", "bytes", _SUM),) if section != "hardware" and not _SPARE.search(text.lower()) else ()
    for field, dimension, pattern in (*_FIGURES, *sums):
        for match in pattern.finditer(text.lower()):
            told = told_behind(text, match.end(), dimension)
            if told is None:
                continue
            quantity, placed = told
            if entry.key not in ("", "heading") and entry.value.strip(" \"'`*").startswith(
                text[placed.start : placed.end]
            ):
                continue  # the key names it
            clause = re.split(r"[,;=:|(]|\.\s|\band\b", text[: placed.start].lower())[-1]
            if field == "memory_total" and _OF_A_PART.search(clause):
                continue
            about = Entry(entry.line, entry.text, entry.sections, "", text[match.end() :], entry.subject)
            bound = scoped(make(about, field, quantity.value, section, quantity), placed, text)
            if bound is not None and all(phrase.start != placed.start for phrase in found):
                found.append(Phrase(placed.start, placed.end, bound))
    return found


def _pools(entry: Entry, text: str, section: str) -> list[Phrase]:
    """Memory of one GPU that is set aside for KV caches."""
    found: list[Phrase] = []
    for match in (match for pattern in _POOLS for match in pattern.finditer(text.lower())):
        told = told_behind(text, match.end(), "bytes")
        if told is None:
            continue
        quantity, placed = told
        bound = scoped(make(entry, "kv_pool", quantity.value, section, quantity), placed, text)
        if bound is not None and all(phrase.start != placed.start for phrase in found):
            found.append(Phrase(placed.start, placed.end, bound))
    return found


def _devices(entry: Entry, text: str, section: str) -> list[Phrase]:
    """GPUs that are counted by their name; where a text counts two kinds, they are no one plan's."""
    matches = [*_DEVICES.finditer(text), *_BEHIND.finditer(text)]
    if not matches and entry.key == "" and not _PARTS.search(text):
        matches = list(_NAMELESS.finditer(text))
    if len(matches) != 1:
        return []
    match = matches[0]
    before, after = text[: match.start()].lower(), text[match.end() :].lower()
    count = int(match["n"])
    field = "gpus_listed"
    if re.search(r"\b(?:nodes?|servers?|hosts?) (?:of|with|x|has|holds)\s*$", before) or re.match(
        r"(?: gpus?)? ?(?:per|a|each|/|in each) ?(?:node|server|host)", after
    ):
        field = "gpus_per_node"
    elif re.match(r"(?: gpus?)? ?(?:per|a|each|/|in each|for each) ?(?:replica|instance|copy)", after):
        field = "gpus_per_replica"
    elif re.match(r"(?: gpus?)? ?(?:per|a|each|/|in each|for each) ?(?:pipeline )?stage", after):
        field = "gpus_per_stage"
    return [Phrase(match.start("n"), match.end("n"), make(entry, field, Fraction(count), section))]
