"""Sentences: what running text says about a plan, rule by rule.

A rule is a pattern over the lower-case text and the field that its group ``n`` names. Rules are tried on
prose, and on the text of keyed lines that the vocabulary does not know or that say more than one thing.
"""

from __future__ import annotations

import re
from fractions import Fraction

from shardproof.solver.documents.everyday import Phrase, everyday
from shardproof.solver.documents.quantities import told_behind
from shardproof.solver.documents.said_formats import stored_as
from shardproof.solver.documents.scopes import scoped
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.values import make, read_dtype

_N = r"(?P<n>\d{1,7}(?:,\d{3})*)"
_GPU = r"(?:gpu|device|accelerator|card|rank|npu)s?"
_STAGE = r"(?:pipeline[ -])?(?:stage|module)s?"
_LAYERS = r"(?:transformer |decoder |model |moe |hidden )?(?:layer|block)s?"
_EXPERTS = r"(?:complete |routed |full |distinct |local )?experts?"
_HAS = (
    r"(?:contains?|has|holds?|hosts?|handles?|gets?|runs?|computes?|process(?:es)?"
    r"|owns?|stores?|keeps?|serves?|takes?|carries|is assigned|receives?|with|of"
    r"|:)"
)

RULES: tuple[tuple[str, str], ...] = (
    ("layers_per_stage", rf"\b(?:each|every|per) {_STAGE} {_HAS} (?:exactly |about )?{_N} {_LAYERS}\b"),
    ("layers_per_stage", rf"\b{_N} {_LAYERS} (?:per|in each|in every|on each|on every|for each|each) ?{_STAGE}\b"),
    ("layers_per_stage", rf"\b{_STAGE} (?:of|with|x|holding|containing) {_N} {_LAYERS}\b(?!,? and)"),
    ("layers_per_stage", rf"\bstages,? each (?:{_HAS} )?{_N} {_LAYERS}\b"),
    ("layers_per_stage", rf"\b{_N} {_LAYERS} (?:each|apiece)\b"),
    ("layers", rf"\b(?:all|the model's|the) {_N} {_LAYERS}\b(?! (?:per|each|in|on))"),
    ("pp",
        rf"\b(?:divided|split|partitioned|cut|organi[sz]ed|sliced|distributed) (?:\w+ "
        rf")?(?:into|over|across|in) {_N} (?:\w+ )?{_STAGE}\b"),
    ("pp", rf"\b{_N} (?:equal |balanced )?(?:pipeline[ -])stages?\b"),
    ("pp", rf"\bgpus? for {_N} (?:modules|stages)\b"),
    ("gpus", rf"\b{_N} {_GPU} for \d+ (?:modules|stages)\b"),
    ("gpus", rf"\b(?:a )?total(?: of)?:? {_N} {_GPU}\b"),
    ("gpus", rf"\b{_N} {_GPU} (?:in total|in all|overall|altogether|are (?:required|needed|used|allocated))\b"),
    ("gpus",
        rf"\b(?:requires?|needs?|uses?|deployed on|runs on|allocates?|occupies|served "
        rf"by|deployment on) (?:exactly )?{_N} {_GPU}\b"),
    ("gpus_per_stage", rf"\b{_N} {_GPU} (?:per|for each|in each|on each|for every) {_STAGE}\b"),
    ("gpus_per_stage",
        rf"\b(?:each|every) {_STAGE} (?:{_HAS}|uses|spans|occupies|runs on|is mapped "
        rf"to|maps to) {_N} {_GPU}\b"),
    ("gpus_per_replica", rf"\b{_N} {_GPU} (?:per|for each|in each) (?:replica|instance|copy)\b"),
    ("gpus_per_node", rf"\b{_N} {_GPU} (?:per|in each|on each) (?:node|server|host)\b"),
    ("gpus_per_node", rf"\bnodes? (?:of|with|x) {_N} {_GPU}\b"),
    ("nodes", rf"\b{_N} (?:nodes|servers|hosts)\b"),
    ("gpus_per_node",
        rf"\bnodes? (?:of|with|x) {_N} (?:[a-z]+[0-9]+[a-z]*(?: (?:sxm\d?|pcie|nvl))? "
        rf"){{0,1}}{_GPU}\b"),
    ("replicas", rf"\b{_N} (?:independent |model |identical |full )?(?:replicas?|copies|instances)\b"),
    ("tp",
        rf"\battention heads (?:are )?(?:parallel\w*|split|sharded|partitioned|divided"
        rf"|distributed|spread) (?:across|over|among|on) {_N} {_GPU}\b"),
    ("tp_heads", rf"\battention heads (?:are )?parallel\w* (?:across|over|among|on) {_N} {_GPU}\b"),
    ("tp", rf"\b{_N}[ -]way (?:attention )?(?:tensor|tp)\b"),
    ("pp", rf"\b{_N}[ -]way (?:pipeline|pp)\b"),
    ("ep", rf"\b{_N}[ -]way (?:expert|ep)\b"),
    ("dp", rf"\b{_N}[ -]way (?:attention )?(?:data|dp)\b"),
    ("tp",
        rf"\btensor[ -]parallel(?:ism|ity)?(?: \(tp\))?(?: size| degree| width)?(?: "
        rf"of| is| =| across| over|:)? {_N}\b(?!\.\d)"),
    ("pp",
        rf"\bpipeline[ -]parallel(?:ism|ity)?(?: \(pp\))?(?: size| degree| depth)?(?: "
        rf"of| is| =| across| over|:)? {_N}\b(?!\.\d)"),
    ("ep",
        rf"\bexpert[ -]parallel(?:ism|ity)?(?: \(ep\))?(?: size| degree)?(?: of"
        rf"| is| =| across| over|:)? {_N}\b(?!\.\d)"),
    ("dp",
        rf"\bdata[ -]parallel(?:ism|ity)?(?: \(dp\))?(?: size| degree)?(?: of| is"
        rf"| =| across| over|:)? {_N}\b(?!\.\d)"),
    ("heads_per_gpu", rf"\b(?:each|every|per) {_GPU} {_HAS} {_N} (?:attention |query |q )?heads\b"),
    ("heads_per_gpu", rf"\b{_N} (?:attention |query |q )?heads (?:per|on each|on every|to each|for each) {_GPU}\b"),
    ("kv_heads_per_gpu", rf"\b(?:each|every|per) {_GPU} {_HAS} {_N} (?:kv|key[ -/]value)[ -]heads?\b"),
    ("kv_heads_per_gpu",
        rf"\b{_N} (?:kv|key[ -/]value)[ -]heads? (?:per|on each|on every|to each"
        rf"|for each) {_GPU}\b"),
    ("experts_per_gpu", rf"\b(?:each|every|per) (?:ep )?{_GPU} {_HAS} (?:all )?{_N} {_EXPERTS}\b"),
    ("experts_per_gpu",
        rf"\b{_N} {_EXPERTS} (?:\(?per layer\)? )?(?:per|on each|on every|to each"
        rf"|for each) (?:ep )?{_GPU}\b"),
    ("experts_replicated",
        rf"\ball {_N} {_EXPERTS} (?:are |is )?(?:replicated|present|resident|held"
        rf"|kept|stored|copied) (?:on|in|by) (?:each|every|all) {_GPU}\b"),
    ("experts", rf"\b(?:all|the) {_N} {_EXPERTS}(?: per layer)?\b(?! (?:per|on each|on every|to each))"),
    ("topk", rf"\b{_N} (?:active |activated |routed )?experts (?:per token|active per token|are active)\b"),
    ("topk", rf"\btop[ -]?(?:k ?= ?)?{_N}(?: routing| experts?| of)\b"),
    ("microbatches", rf"\b{_N} (?:prefill )?micro-?batches\b"),
    ("batch",
        rf"\b{_N} (?:concurrent |simultaneous )?(?:requests|prompts|sequences|users) "
        rf"(?:arrive|come in|at once|together|in flight|concurrently|are in flight)\b"),
    ("batch", rf"\b(?:batch(?: size)?|burst) of {_N}\b"),
    ("batch", rf"\b{_N} (?:concurrent|simultaneous) (?:requests|prompts|sequences|users)\b"),
    ("input_tokens", rf"\b{_N} (?:input|prompt) tokens(?! in total| total)\b"),
    ("output_tokens", rf"\b{_N} (?:output|generated) tokens(?! in total| total| per second| ?/ ?s)\b"),
)  # fmt: skip

FLAGS: tuple[tuple[str, str], ...] = (
    ("equal_layers",
        r"\b(?:equal|even|identical|uniform)(?:ly)? (?:layer distribution|distribution "
        r"of layers|layer split|number of layers|distributed layers|layer partition)"
        r"|layers (?:are )?(?:distributed|divided|split) (?:evenly|equally|uniformly)"
        r"|same number of layers"),
    ("balanced_heads",
        r"\bbalanced attention head|\bheads (?:are )?(?:divided|split|distributed"
        r"|partitioned) (?:evenly|equally)|equal (?:attention )?heads per"),
    ("uniform_expert_load",
        r"\bexpert routing (?:maintains|keeps|ensures) uniform|uniform expert load"
        r"|expert loads? (?:is|are) (?:uniform|balanced)"),
    ("memory_balanced", r"\bmemory (?:usage |load )?(?:is )?(?:evenly )?balanced (?:across|over)"),
    ("minimal_gpus",
        r"\bminim(?:al|um) (?:gpu|number of gpus|device|usage of gpus)|fewest (?:possible "
        r")?(?:gpus|devices)"),
    ("projections_parallel", r"\bqkv (?:projections? )?and output projections? (?:are )?(?:parallel|sharded|split)"),
    ("meets_ttft",
        r"\b(?:meets|satisfies|within|keeps|fulfils|fulfills) (?:the )?ttft (?:requirement"
        r"|limit|target|slo|constraint)"),
    ("balanced_layers", r"\bbalanced layer distribution|layers (?:are )?balanced"),
    ("fits_memory", r"\bfits (?:in|into|within) (?:the )?(?:gpu |device )?memory"),
    ("complete_experts",
        r"\beach (?:gpu|device|rank) (?:has|holds|keeps) (?:the |a )?complete expert"
        r"|(?:gpu|device) (?:has|holds) every expert|experts? (?:are )?(?:fully "
        r")?replicated on (?:each|every|all)"),
)  # fmt: skip

_MEASURE = (
    r"(?: (?:is|are|of|takes?|needs?|uses?|occup(?:y|ies)|comes? to|amounts? to"
    r"|at|about|=|~|:|roughly|estimated at)){0,3} ?[~:=]? ?(?=\d)"
)
_EACH = r"(?:one|each|every|a|per|the)"

MEASURES: tuple[tuple[str, str, str], ...] = (
    ("kv_per_token", "bytes", rf"\bkv(?:[ -]cache)? (?:of|per|for) (?:{_EACH} )?token(?: \(all layers\))?{_MEASURE}"),
    ("kv_per_gpu", "bytes", rf"\bkv(?:[ -]cache)? (?:of|per|for|on) (?:{_EACH} )?(?:gpu|device){_MEASURE}"),
    ("weights_per_gpu", "bytes", rf"\bweights (?:of|per|for|on) (?:{_EACH} )?(?:gpu|device){_MEASURE}"),
    ("weights_per_gpu", "bytes",
        r"\beach (?:gpu|device) (?:holds|stores|keeps|has) (?=[\d.]+ ?[gm]i?b of "
        r"(?:model )?weights)"),
    ("kv_per_gpu", "bytes", r"\beach (?:gpu|device) (?:holds|stores|keeps|has) (?=[\d.]+ ?[gm]i?b of kv)"),
    ("ttft_limit", "time",
        r"\bttft (?:must|has to|should|may) (?:not exceed|stay (?:below|under|within)"
        r"|be (?:below|under|at most|within)) (?=\d)"),
    ("ttft_limit", "time", r"\bttft (?:limit|target|requirement|slo|budget)(?: of| is|:)? (?=\d)"),
    ("ttft", "time",
        rf"\b(?:estimated |expected |predicted |resulting )?ttft(?: for the (?:slowest"
        rf"|last) request)?{_MEASURE}(?![\d.]+ ?(?:s|ms|seconds) (?:limit|target"
        rf"|requirement))"),
    ("tpot", "time", rf"\b(?:estimated |expected |predicted |resulting )?tpot{_MEASURE}"),
    ("weights_total", "bytes",
        r"\bweights (?:take|occupy|need|are|come to|amount to)(?: up)?(?: about"
        r"| roughly| some)? (?=\d)"),
    ("parameters", "count", r"(?<![\w.])(?=\d[\d.]{0,6} ?b[- ]?param)"),
    ("active_parameters", "count", r"(?<![\w.])(?=\d[\d.]{0,6} ?b (?:active|activated)\b)"),
    ("gpu_memory", "bytes", r"(?<![\w.])(?=\d[\d.]{0,6} ?gi?b (?:of )?(?:hbm\w*|memory|vram) (?:each|per gpu)\b)"),
    ("gpu_memory", "bytes",
        r"\b(?:with|has|offers|have) (?=[\d.]+ ?gi?b (?:of )?(?:hbm\w*|memory|vram)(?: "
        r"each| per gpu|\b))"),
    ("memory_utilization", "ratio", rf"\bmemory utili[sz]ation{_MEASURE}"),
)  # fmt: skip

_SHAPE = tuple(
    (field, re.compile(pattern))
    for field, pattern in (
        ("layers", rf"\b{_N} (?:transformer |decoder )?layers\b(?! per| each| in each)"),
        ("kv_heads", rf"\b{_N} (?:kv|key[ -/]value)[ -]heads\b(?! per)"),
        ("heads", rf"\b{_N} (?:query |attention |q )?heads\b(?! per)"),
        ("experts", rf"\b{_N} (?:routed )?experts\b(?! per (?:gpu|token|rank)| active| each)"),
        ("hidden", rf"\bhidden(?: size| dimension)?:? (?:of )?{_N}\b"),
    )
)
_LONG = (
    (re.compile(r"time[ -]to[ -](?:the )?first[ -]token"), "ttft"),
    (re.compile(r"time[ -]per[ -]output[ -]token|inter[ -]token latency"), "tpot"),
)
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = re.compile(
    rf"(?i)\b({'|'.join(NUMBERS)})(?= (?:[a-z]+ )?(?:replicas|copies|nodes|servers|pipeline stages)\b)"
)
"""Counts in words of what a plan counts."""
_RULES = tuple((field, re.compile(pattern)) for field, pattern in RULES)
_MEASURES = tuple((field, dimension, re.compile(pattern)) for field, dimension, pattern in MEASURES)
_FLAGS = tuple((field, re.compile(pattern)) for field, pattern in FLAGS)

_DEGREE = re.compile(
    r"(?<![a-z0-9])(?P<part>attn|attention|moe|expert)?[ _-]?(?P<what>tp|pp|ep|dp)"
    r"(?:[ _-]?(?:size|degree))?\s{0,2}(?:=|:|-|\bof\b)?\s{0,2}(?P<n>\d{1,5})(?![\d.]*\d|\s*%|[a-z])"
)


def scan(entry: Entry, *, section: str) -> list[Statement]:
    """Return every statement that the rules find in the text of an entry."""
    return [phrase.statement for phrase in phrases_of(entry, section=section)]


def text_of(entry: Entry) -> str:
    """The text that the rules look at: key and value, long names of times shortened, counts in words as digits."""
    text = f"{entry.key} {entry.value}".strip() if entry.key not in ("", "heading") else entry.value
    for pattern, short in _LONG:
        text = pattern.sub(short, text) if pattern.search(text) else text
    return _NUMBER_WORDS.sub(lambda found: str(NUMBERS.index(found[1].lower()) + 2), text)


def phrases_of(entry: Entry, *, section: str) -> list[Phrase]:
    """Return what the rules find in the text of an entry, with the places of its numbers in `text_of`."""
    text = text_of(entry)
    lower = text.lower()
    found = [*_degrees(entry, lower, section), *_measures(entry, text, section)]
    taken = {phrase.start for phrase in found}
    found += [phrase for phrase in everyday(entry, text, section) if phrase.start not in taken]
    return found + [Phrase(0, 0, statement) for statement in _said(entry, lower, section)]


def _degrees(entry: Entry, lower: str, section: str) -> list[Phrase]:
    """Degrees and counts, by the rules."""
    found: list[Phrase] = []
    taken: list[tuple[str, int]] = []
    for match in _DEGREE.finditer(lower):
        part = {"attention": "attn", "expert": "moe"}.get(match["part"] or "", match["part"] or "")
        field = {"attn tp": "tp", "attn dp": "dp", "moe tp": "moe_tp", "moe ep": "ep"}.get(
            f"{part} {match['what']}", match["what"]
        )
        taken.append((field, match.start("n")))
        statement = make(entry, field, Fraction(int(match["n"])), section)
        found.append(Phrase(match.start("n"), match.end("n"), statement))
    for field, pattern in _RULES:
        for match in pattern.finditer(lower):
            key = (field, match.start("n"))
            if key not in taken:
                taken.append(key)
                statement = make(entry, field, Fraction(int(match["n"].replace(",", ""))), section)
                found.append(Phrase(match.start("n"), match.end("n"), statement))
    return found


def _said(entry: Entry, lower: str, section: str) -> list[Statement]:
    """What a text says without a number: qualities, formats of weights and KV cache."""
    found: list[Statement] = []
    for field, pattern in _FLAGS:
        if (said := pattern.search(lower)) is not None:
            denied = re.search(r"\b(?:not|no|never|doesn't|isn't|does not)\s(?:\w+ )?$", lower[: said.start()])
            found.append(make(entry, field, denied is None, section))
    if kv := re.search(
        r"\bkv[ -]cache (?:is |are )?(?:kept |stored |held |quanti[sz]ed )?(?:in"
        r"|at|as|to) (\w{3,8})",
        lower,
    ):
        kept = read_dtype(kv[1])
        found += [make(entry, "kv_precision", kept, section)] if kept else []
    dtype = stored_as(lower)
    if dtype is not None:
        found.append(make(entry, "precision", dtype, section))
    return found


def scan_shape(entry: Entry, *, section: str) -> list[Statement]:
    """What stands beside a model's name: ``Model: X, 126 layers, 128 query heads, hidden 16384``."""
    lower = entry.value.lower()
    return [
        make(entry, field, Fraction(int(match["n"].replace(",", ""))), section)
        for field, pattern in _SHAPE
        for match in list(pattern.finditer(lower))[:1]
    ]


def _measures(entry: Entry, text: str, section: str) -> list[Phrase]:
    """Return the quantities with units that running text gives."""
    lower, taken = text.lower(), set()
    found: list[Phrase] = []
    for field, dimension, rule in _MEASURES:
        for match in rule.finditer(lower):
            told = told_behind(text, match.end(), dimension)
            if told is not None and match.end() not in taken:
                taken.add(match.end())
                quantity, placed = told
                about = Entry(entry.line, entry.text, entry.sections, "", text[match.end() :], "")
                bound = scoped(make(about, field, quantity.value, section, quantity), placed, text)
                found += [Phrase(placed.start, placed.end, bound)] if bound is not None else []
    return found
