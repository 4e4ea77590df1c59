"""Launches: one start of an engine, whatever form says it, as statements about one plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from shardproof.solver.documents.commands import ENGINE_NAMES, EngineCall, field_of, release_of_image
from shardproof.solver.documents.guesses import SECTION, statements_of, statements_of_json
from shardproof.solver.documents.known_flags import unknown_flag
from shardproof.solver.documents.shell import Command
from shardproof.solver.documents.statement import Entry, Statement, Unread
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node
from shardproof.solver.documents.values import make, read_dtype, read_flag

_NAMES = frozenset({"model", "engine", "served_name", "speculative_method", "draft_model"})
_DTYPES = frozenset({"precision", "kv_precision", "activation_dtype"})
_OTHER_SERVERS = frozenset({"--omni", "--task", "--convert"})
_FLAGS = frozenset({"expert_parallel_enabled", "attention_dp_enabled", "headless", "eager"})
_PRESENT = frozenset({"longer_context", "offload", "own_memory", "config_file", "all_to_all"})
_BESIDE = frozenset({"nodes", "node_rank", "gpus_requested", "visible_gpus", "max_sequences", "microbatch_tokens",
                     "speculative_config", "draft_tokens", "draft_topk", "verified_tokens"})  # fmt: skip
"""Fields that may be set elsewhere without leaving the layout open."""


@dataclass(frozen=True)
class Launch:
    """One start of an engine: ``form`` says what it was read from, ``line`` and ``text`` where it stands.

    ``sections`` are the headings above it; ``rank`` is the node's, for lines that every node runs; ``open`` tells
    that parts are said elsewhere (variables that nothing sets, files that are not here).
    """

    engine: str
    form: str
    line: int
    text: str
    statements: tuple[Statement, ...]
    unread: tuple[Unread, ...] = ()
    sections: tuple[str, ...] = ()
    name: str = ""
    rank: int = 0
    open: bool = False

    def number(self, field: str) -> Fraction | None:
        """Return the number that the launch states for a field."""
        found = next((s for s in self.statements if s.field == field), None)
        return found.value if found is not None and isinstance(found.value, Fraction) else None

    def has(self, field: str) -> bool:
        """Whether the launch states a field."""
        return any(statement.field == field for statement in self.statements)

    @property
    def model(self) -> str:
        """The model as the launch names it."""
        return next((str(s.value) for s in self.statements if s.field == "model"), "")

    @property
    def identity(self) -> tuple[object, ...]:
        """What lines of several nodes of one deployment have in common."""
        numbers = (self.number(field) for field in ("tp", "pp", "dp", "ep", "nodes"))
        return (self.engine, self.model, self.form, *numbers)


def engine_statement(name: str, entry: Entry) -> Statement | None:
    """A flag's value as a statement; ``None`` where it is no value of that flag."""
    value = entry.value.strip()
    if name in _NAMES:
        return make(entry, name, printable(value, limit=100), "engine") if value and "$" not in value else None
    if name in _DTYPES:
        dtype = read_dtype(value)
        return make(entry, name, dtype, "engine") if dtype else None
    if name in _FLAGS:
        flag = read_flag(value)
        return None if flag is None else make(entry, name, flag, "engine")
    if name in _PRESENT:
        return make(entry, name, printable(value, limit=100), "engine")
    match = re.fullmatch(r"(-?\d{1,9})(?:\.(\d{1,6}))?\s*([kKmM]i?)?", value)
    if match is None or (name == "max_model_len" and value == "-1"):
        return None
    number = Fraction(f"{match[1]}.{match[2] or 0}") * _SIZES.get(match[3] or "", 1)
    return make(entry, name, number, "engine")


_SIZES = {"k": 1000, "K": 1024, "m": 10**6, "M": 2**20, "ki": 1024, "Ki": 1024, "mi": 2**20, "Mi": 2**20}
"""As vLLM's own parser reads them: small letters decimal, capitals binary."""


def launch_of_call(call: EngineCall, command: Command, *, form: str, sections: tuple[str, ...] = ()) -> Launch:
    """Turn an engine call into a launch; a file of options is read where the text, or a file beside it, holds it.

    What the command says itself outranks the file, but for TensorRT-LLM, where the file has the last word.
    """
    statements: list[Statement] = [make(_about(call.line, call.text, sections), "engine", call.engine, "engine")]
    statements += _unknown_flags(call, sections)
    strange = {statement.text for statement in statements[1:]}
    unread = [
        Unread(line, printable(text), "says nothing about the plan")
        for line, text in call.unread
        if text and printable(text, limit=160) not in strange
    ]
    unset = any(text.split(" ", maxsplit=1)[0].partition("=")[0] in _OTHER_SERVERS for _, text in call.unread)
    for name, entry in call.fields:
        if name == SECTION and (told := statements_of_json(entry)):
            statements += told
            continue
        statement = engine_statement(name, entry)
        if statement is None:
            unset = unset or name not in _PRESENT | _DTYPES | _FLAGS | _BESIDE | _NAMES
            why = "is set by nothing here" if "$" in entry.value else "is no value of this flag"
            unread.append(Unread(entry.line, printable(entry.text), why))
        elif name == "config_file":
            found = _options_file(call.engine, entry.value, command.files, sections)
            at = len(statements) if call.engine == "trtllm" or not found else 1
            statements[at:at] = found or [statement]
        else:
            statements.append(statement)
    statements = named_by_service(statements) + _from_environment(command, call, sections)
    launch = Launch(
        call.engine, form, call.line, printable(call.text), _first_of_each(statements), tuple(unread), sections,
        open=unset,
    )  # fmt: skip
    return _with_rank(of_image(launch, call.image, call.line))


def of_image(launch: Launch, image: str, line: int) -> Launch:
    """Return a launch with the release of its engine that an image's tag names."""
    release = release_of_image(launch.engine, image)
    if any(statement.field == "engine_version" for statement in launch.statements):
        return launch
    if not release:
        return _with_a_release_unsaid(launch, image, line)
    entry = Entry(line or launch.line, printable(f"image: {image}", limit=200), launch.sections, "image", image)
    return replace(launch, statements=(*launch.statements, make(entry, "engine_version", release, "engine")))


_BRINGS_ITS_OWN = re.compile(r"(?i)dynamo|(?:^|/)ray(?:project/|-llm|-ml|:)")
"""Images of platforms that hold an engine: their tags are releases of the platform."""


def _with_a_release_unsaid(launch: Launch, image: str, line: int) -> Launch:
    """Say that an image brings a release of the engine that its tag does not name."""
    if launch.engine not in ENGINE_NAMES or not _BRINGS_ITS_OWN.search(image):
        return launch
    why = f"brings its own release of {ENGINE_NAMES[launch.engine]}, which the tag does not say: --engine names one"
    return replace(launch, unread=(*launch.unread, Unread(line or launch.line, printable(f"image: {image}"), why)))


def _unknown_flags(call: EngineCall, sections: tuple[str, ...]) -> list[Statement]:
    """Flags that the engine does not know; keyword arguments of its classes count as the flags of the same name."""
    found, behind = [], "dynamo." in call.text
    read = [(entry.line, entry.text) for _, entry in call.fields if entry.text.startswith("--")]
    for line, text in (*call.unread, *read):
        word = text if text.startswith("-") else f"--{text}" if _KEYWORD.match(text) else ""
        unknown = unknown_flag(call.engine, word, behind=behind or not text.startswith("-")) if word else None
        if unknown is not None:
            about = Entry(line, printable(text, limit=160), sections, unknown.flag, "")
            found.append(make(about, "unknown_flag", unknown.flag, "engine"))
    return found


_KEYWORD = re.compile(r"[a-z][a-z_]+=")
PATH = re.compile(r"^[./~$]|^[A-Za-z]:[\\/]|^\w+://")
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)")


def named_by_service(statements: list[Statement]) -> list[Statement]:
    """Name the model of a path: by the hub's cache folder in it, else by the name under which it is served."""
    model = next((s for s in statements if s.field == "model"), None)
    served = next((s for s in statements if s.field == "served_name"), None)
    kept = [s for s in statements if s.field != "served_name"]
    if model is not None and not PATH.match(str(model.value)):
        return kept
    if model is not None and (cached := _CACHED.search(str(model.value))):
        return [replace(s, value=f"{cached[1]}/{cached[2]}") if s is model else s for s in kept]
    if served is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", str(served.value)):
        return [s for s in kept if s is not model] + [replace(served, field="model")]
    return kept


def _with_rank(launch: Launch) -> Launch:
    rank = launch.number("node_rank")
    headless = any(s.field == "headless" and s.value is True for s in launch.statements)
    kept = tuple(s for s in launch.statements if s.field not in ("node_rank", "headless"))
    files = any(s.field == "config_file" for s in kept)
    number = int(rank) if rank else int(headless)
    return Launch(**{**launch.__dict__, "statements": kept, "rank": number, "open": launch.open or files})


def _first_of_each(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """Keep the last of what a command says twice, as argument parsers do."""
    last = {(s.field, s.value if s.field == "unknown_flag" else None): s for s in statements}
    return tuple(last.values())


def _about(line: int, text: str, sections: tuple[str, ...]) -> Entry:
    return Entry(line, printable(text), sections, "", text)


def _options_file(
    engine: str, path: str, files: dict[str, tuple[str, int]], sections: tuple[str, ...]
) -> list[Statement]:
    """The options in a file that the same text writes (a here-document, a ConfigMap), or that stands beside it.

    Names that the engine does not know are noted: it ends on them, as on its flags.
    """
    from shardproof.solver.documents.tree import read_tree

    held = files.get(path.rpartition("/")[2])
    if held is None:
        return []
    text, line = held
    trees = read_tree(text, name=path)
    if not trees:
        return []
    found = options_of(engine, trees[0], sections, shift=line - 1)
    found += _unknown_options(engine, trees[0], sections, line - 1)
    if line > 1:
        return found
    name = printable(path.rpartition("/")[2])  # a file of its own: its lines are no lines of the text
    return [replace(statement, text=f"{name}: {statement.text}") for statement in found]


def _unknown_options(engine: str, tree: Node, sections: tuple[str, ...], shift: int) -> list[Statement]:
    """Return the names in a file of flags (vLLM's and SGLang's) that are no flags of the engine."""
    found = []
    for key, node in tree.pairs() if engine in ("vllm", "sglang") else ():
        unknown = unknown_flag(engine, f"--{key}")
        if unknown is not None:
            about = Entry(node.line + shift, printable(f"{key}: {node.scalar or ''}", limit=160), sections, key, "")
            found.append(make(about, "unknown_flag", unknown.flag, "engine"))
    return found


def options_of(engine: str, tree: Node, sections: tuple[str, ...], *, shift: int = 0) -> list[Statement]:
    """Read a mapping of engine options (TensorRT-LLM's YAML, engine arguments, ``engine_kwargs``)."""
    found: list[Statement] = []
    for key, node in tree.pairs():
        if node.fields is not None and key in ("kv_cache_config", "moe_config", "quant_config", "build_config"):
            found += options_of(engine, node, (*sections, key), shift=shift)
        if node.fields is not None and key == SECTION:
            about = Entry(node.line + shift, printable(key), sections, key, "")
            pairs = [(name, inner.scalar) for name, inner in node.pairs() if inner.scalar is not None]
            found += statements_of(pairs, about)
        if node.scalar is None:
            continue
        if key == SECTION:
            found += statements_of_json(Entry(node.line + shift, printable(key), sections, key, node.scalar))
            continue
        name = field_of(engine, key)
        if engine == "trtllm" and key == "dtype" and "kv_cache_config" not in sections:
            name = "activation_dtype"
        entry = Entry(node.line + shift, f"{key}: {printable(node.scalar)}", sections, key, node.scalar)
        statement = engine_statement(name, entry) if name else None
        found += [statement] if statement is not None else []
    return found


def _from_environment(command: Command, call: EngineCall, sections: tuple[str, ...]) -> list[Statement]:
    """What variables tell the engine: layers of each stage, and leave to go beyond the model's positions."""
    found: list[Statement] = []
    for name in ("VLLM_PP_LAYER_PARTITION", "SGLANG_PP_LAYER_PARTITION"):
        value = command.environment.get(name, "")
        if re.fullmatch(r"\d{1,5}(?:,\d{1,5})+", value) and name.lower().startswith(call.engine):
            counts = tuple(int(part) for part in value.split(","))
            found.append(make(_about(call.line, f"{name}={value}", sections), "layers_per_stage", counts, "engine"))
    if command.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "") in ("1", "true", "True"):
        entry = _about(call.line, "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1", sections)
        found.append(make(entry, "longer_context", "1", "engine"))
    return found


def describe(launch: Launch) -> str:
    """Say what a launch was read as."""
    return f"{launch.form}: starts {ENGINE_NAMES.get(launch.engine, launch.engine)}"
