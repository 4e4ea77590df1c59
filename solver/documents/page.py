"""Pages: Markdown and plain text, read into statements, launches and the lines that are neither."""

from __future__ import annotations

import re

from shardproof.instances.errors import InputError
from shardproof.solver.documents.commands import engine_of, read_call
from shardproof.solver.documents.fences import LOG, read_block
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.interpret import interpret, read_across, read_prose
from shardproof.solver.documents.launch import Launch, launch_of_call
from shardproof.solver.documents.leftovers import REASON, leftovers
from shardproof.solver.documents.markdown import Block, Parsed, parse_lines, parse_markdown
from shardproof.solver.documents.named import named_devices, title_model
from shardproof.solver.documents.plans import DEGREES, Page, documents_of
from shardproof.solver.documents.shell import read_script
from shardproof.solver.documents.statement import Document, Entry, ReadLine, Statement, Unread
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.vocabulary import fields_of
from shardproof.solver.documents.wording import section_kind

MAX_LINES = 2_500
_COMMAND = re.compile(
    r"^\s*(?:\$ |sudo |nohup |exec |(?:[A-Z_][A-Z0-9_]*=\S* )+)*"
    r"(?:vllm serve|sglang serve|trtllm-serve|python3? -m (?:vllm|sglang|dynamo)|mpirun |docker run|podman run|srun )"
)
_ALTERNATIVES = re.compile(
    r"\b(?:or|either|alternatively|instead|e\.g|for example|such as|if you|can also|could|may|might|optional(?:ly)?|vs"
    r"|versus|compared|recommend(?:ed)?|when|example|try|use|consider|tip|note|unlike|minimum|minimal|at least|works"
    r"|suitable|option|options|higher|lower|larger|smaller|increase|reduce|adjust|set|change|depending|default"
    r"|only|requires?|needs?|single|per|every|each|across|all)\b"
)
_HTML = re.compile(r"\s*</?(?:t[dhr]|table|tbody|thead|img|div|p|a|details|summary)\b")
_PART_OF_MODEL = re.compile(r"\b(?:models|mtp|modules?|draft|excluding|block|embedding|encoder|vision|activated per)\b")
_PLAN_WORDS = re.compile(r"\b(?:gpus?|gi?b|layers?|experts?|tp|pp|dp|ep|nodes?|heads?|param\w*|memory|weights?|kv)\b")
_DECLARES = re.compile(
    r"\b(?:we|our|this (?:plan|deployment|server|service|setup|cluster|engine|configuration)|in total|in all|total"
    r"|the (?:deployment|plan|model|server|service|setup|cluster|engine) (?:is|runs|uses|takes|needs|occupies))\b"
)
_DEGREES_ALONE = frozenset({"tp", "pp", "dp", "ep", "gpus", "moe_tp", "replicas", "nodes", "gpus_per_node"})

_PARAMETERS = ("parameters", "active_parameters")
_LISTED = frozenset({"tp", "pp", "dp", "ep", "moe_tp"})
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s")
FEWEST_CHOICES = 3
"""List items in a row that give one degree a value each before they are taken for choices."""


class _Reader:
    """Gathers what a page says while its parts are read."""

    def __init__(self, parsed: Parsed, known: Known) -> None:
        self.parsed = parsed
        self.known = known
        self.statements: list[Statement] = []
        self.unread: list[Unread] = []
        self.lines: list[ReadLine] = []
        self.launches: list[Launch] = []
        self.sentences: set[int] = set()
        self.begun: dict[int, list[Statement]] = {}

    def read(self) -> None:
        """Read blocks, lines that start an engine, keyed lines and sentences."""
        parts = [self.parsed]
        for block in self.parsed.blocks:
            parts += self.block(block)
        for part in parts:
            for command in part.commands:
                self.command(command)
        for part in parts:
            for entry in part.entries:
                self.entry(entry)
            following = {entry.line: entry for entry in part.prose if not entry.key}
            for entry in part.prose:
                self.sentence(entry, following.get(entry.line + 1))
        self.statements = self.without_listed_choices()

    def without_listed_choices(self) -> list[Statement]:
        """Drop degrees of list items in a row that give one degree a value each: a list of what it may be."""
        given: dict[str, dict[int, object]] = {}
        for statement in self.statements:
            if statement.field in _LISTED and not statement.subject and _ITEM.match(statement.text):
                given.setdefault(statement.field, {})[statement.line] = statement.value
        dropped: set[tuple[str, int]] = set()
        for field, lines in given.items():
            for run in _runs(sorted(lines)):
                if len(run) >= FEWEST_CHOICES and len({lines[line] for line in run}) == len(run):
                    dropped |= {(field, line) for line in run}
        gone = [item for item in self.statements if (item.field, item.line) in dropped]
        self.unread += [Unread(item.line, item.text, "one of several in a list, states no plan") for item in gone]
        return [item for item in self.statements if (item.field, item.line) not in dropped]

    def block(self, block: Block) -> list[Parsed]:
        """Read a fenced block; plain text in it is read as the page's own."""
        found = read_block(block, self.known)
        self.launches += found.launches
        self.lines += found.lines
        return [parse_lines(block)] if found.text else []

    def command(self, command: Entry) -> None:
        """Read a line of the page that starts an engine, or names one in code marks."""
        spans = [span for span in re.findall(r"`+([^`]+)`+", command.value) if _starts(span)]
        text = command.value.strip().strip("`")
        if not spans and _COMMAND.match(text):
            spans = [re.sub(r"^\s*\$ ", "", text)]
        launches = [launch for span in spans for launch in self.launches_of(span, command)]
        self.launches += launches
        if not launches:
            self.sentence(Entry(command.line, command.text, command.sections, "", command.value.replace("`", "")), None)

    def launches_of(self, text: str, command: Entry) -> list[Launch]:
        """The launches of a command line."""
        script = read_script(text, line=command.line, environment=self.known.variables)
        calls = [(read_call(one, sections=command.sections), one) for one in script.commands]
        return [
            launch_of_call(call, one, form="engine command", sections=command.sections)
            for call, one in calls
            if call is not None and call.fields
        ]

    def entry(self, entry: Entry) -> None:
        """Read a keyed line."""
        if _HTML.match(entry.text):
            self.unread.append(Unread(entry.line, entry.text, "is HTML"))
            return
        if LOG.match(entry.text):
            self.lines.append(ReadLine(entry.line, entry.text, "log line, no claim about the plan"))
            return
        found, reason = interpret(entry)
        asked = fields_of(entry.key[:100], section_kind(entry.sections) if entry.sections else "none")[0]
        if not asked:
            found = self.without_choices(entry, found)
        elif not any(row.name in _PARAMETERS for row in asked):
            found = _without_others_parameters(entry, found)
        if self.launches and not asked:
            found = [statement for statement in found if statement.field != "gpus_listed"]
        self.statements += found
        self.unread += leftovers(entry, found, section=section_kind(entry.sections) if entry.sections else "none")
        if not found and (entry.value.strip() or entry.key.strip()):
            self.unread.append(Unread(entry.line, entry.text, reason))

    def sentence(self, entry: Entry, following: Entry | None) -> None:
        """Read a sentence; one that offers a choice of degrees states none."""
        if _HTML.match(entry.text):
            self.unread.append(Unread(entry.line, entry.text, "is HTML"))
            return
        if LOG.match(entry.text):
            self.lines.append(ReadLine(entry.line, entry.text, "log line, no claim about the plan"))
            return
        across = read_across(entry, following)
        found = read_prose(entry) + across
        kept = self.without_choices(entry, found)
        if self.launches:
            kept = [statement for statement in kept if statement.field != "gpus_listed"]
        section = section_kind(entry.sections) if entry.sections else "none"
        self.unread += leftovers(entry, [*kept, *self.begun.pop(entry.line, [])] if kept else [], section=section)
        self.begun[entry.line + 1] = across
        self.sentences.add(entry.line)
        self.statements += kept
        if not kept:
            reason = "offers a choice, states no plan" if found else "no rule reads it"
            self.unread.append(Unread(entry.line, entry.text, reason))

    def without_choices(self, entry: Entry, found: list[Statement]) -> list[Statement]:
        """Drop the degrees of a sentence that gives several, or that advises on a page with commands."""
        values: dict[str, set[object]] = {}
        for statement in found:
            if statement.field in _DEGREES_ALONE and not statement.subject:
                values.setdefault(statement.field, set()).add(statement.value)
        several = any(len(given) > 1 for given in values.values())
        said = f"{entry.key} {entry.value}".lower()
        quoted = entry.text.lstrip().startswith(">")
        advice = quoted or bool(_ALTERNATIVES.search(said)) or not _DECLARES.search(said)
        advice = advice and bool(self.launches)
        if self.launches:
            found = [s for s in found if s.field != "sum" or _PLAN_WORDS.search(said)]
        found = _without_others_parameters(entry, found)
        if not several and not advice:
            return found
        return [s for s in found if s.field not in DEGREES or s.subject or (not advice and s.field not in values)]


def _without_others_parameters(entry: Entry, found: list[Statement]) -> list[Statement]:
    """Drop parameters that are those of a part of the model, or of models in general."""
    if not _PART_OF_MODEL.search(f"{entry.key} {entry.value}".lower()):
        return found
    return [statement for statement in found if statement.field not in _PARAMETERS]


def _runs(lines: list[int]) -> list[list[int]]:
    """Split sorted line numbers into runs of neighbours."""
    found: list[list[int]] = []
    for line in lines:
        if found and line == found[-1][-1] + 1:
            found[-1].append(line)
        else:
            found.append([line])
    return found


def _starts(span: str) -> bool:
    return bool(engine_of(span)) and bool(re.search(r"\s--?[A-Za-z]", span))


def read_page(text: str, name: str, known: Known | None = None) -> list[Document]:
    """Read a page into its plans.

    Raises
    ------
    InputError
        If it has more lines than a page can have.
    """
    if text.count("\n") > MAX_LINES:
        raise InputError(f"{printable(name)}: has more than {MAX_LINES} lines; this is no plan document")
    parsed = parse_markdown(text)
    reader = _Reader(parsed, known or Known())
    reader.read()
    return plans_of(reader, text, name)


def plans_of(reader: _Reader, text: str, name: str) -> list[Document]:
    """Put statements and launches of a page together."""
    statements = reader.statements
    told = [*statements, *(s for launch in reader.launches for s in launch.statements)]
    statements += title_model(told, text)
    several = len(reader.launches) > 1
    statements += named_devices(told, text, several=several, strict=bool(reader.launches))
    titled = {statement.line for statement in statements if statement.section == "title"}
    unread = sorted(
        (item for item in reader.unread if item.line not in titled or item.reason == REASON), key=lambda item: item.line
    )
    page = Page(
        name,
        "markdown",
        tuple(sorted(statements, key=lambda statement: statement.line)),
        tuple(dict.fromkeys(unread)),
        tuple(reader.lines),
        reader.parsed.places,
        frozenset(reader.sentences),
    )
    return documents_of(page, reader.launches)
