"""Read a plan document of any format: pages, commands, manifests, values, code, notebooks, plain plans.

One file may hold several plans; `read_plans` returns all of them, `read_document` the first.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from shardproof.instances.errors import InputError
from shardproof.instances.reading import is_file
from shardproof.solver.documents.commands import engine_of, read_call
from shardproof.solver.documents.dockerfile import is_dockerfile, launches_of_dockerfile
from shardproof.solver.documents.fences import options_launch
from shardproof.solver.documents.forms import read_forms
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.forms.pool_options import launches_of_pools, may_hold_pools
from shardproof.solver.documents.forms.trtllm_options import TELLING
from shardproof.solver.documents.interpret import interpret
from shardproof.solver.documents.launch import Launch, launch_of_call
from shardproof.solver.documents.leftovers import leftovers
from shardproof.solver.documents.named import named_devices
from shardproof.solver.documents.notebook import Part, is_notebook, parts_of
from shardproof.solver.documents.others import refuse_other
from shardproof.solver.documents.page import read_page
from shardproof.solver.documents.plans import Page, documents_of
from shardproof.solver.documents.python_code import read_python
from shardproof.solver.documents.restructured import to_markdown
from shardproof.solver.documents.shell import read_script
from shardproof.solver.documents.statement import Document, Entry, Kind, ReadLine, Statement, Unread
from shardproof.solver.documents.structured import flatten
from shardproof.solver.documents.text import printable, read_document_text
from shardproof.solver.documents.tree import Node, read_tree
from shardproof.solver.documents.variables import (
    launch_of_variables,
    looks_like_unit,
    looks_like_variables,
    read_variables,
    script_of_unit,
)
from shardproof.solver.documents.wording import section_kind

MAX_VALUES = 2_500
OPTIONS_FILE = re.compile(
    r"""--(?:config|extra_llm_api_options|extra-llm-api-options|extra-engine-args|extra_engine_args)"""
    r"""["']?[=\s,]+(?:-\s+)?["']?(?:[^\s"',]*/)?([\w.-]+)"""
)
"""A file of engine options after its flag: in a command, in a list of words, or one word a line of YAML."""
_SHELL_SUFFIXES = frozenset({".sh", ".bash", ".zsh", ".slurm", ".sbatch"})
_TREES = frozenset({".yaml", ".yml", ".json"})
_COMMANDLIKE = re.compile(
    r"^\s*(?:#|export |set -|cd |[A-Za-z_]\w*=|\$|vllm |sglang |python3? |trtllm-|docker |podman |srun |mpirun |nohup )"
)


def read_document(path: Path) -> Document:
    """Read a file's first plan: the format follows the file's ending, then its content.

    Raises
    ------
    InputError
        If the file cannot be read as text, or no statement at all is found in it.
    """
    return read_plans(path)[0]


def read_plans(path: Path) -> tuple[Document, ...]:
    """Read all plans of a file; ``.env`` and environment files that stand beside it fill in its variables."""
    text = read_document_text(path)
    return parse_plans(text, name=path.name, suffix=suffix_of(path), known=_beside(path, text))


def suffix_of(path: Path) -> str:
    """Return the ending that says how a file is read."""
    if is_dockerfile(path.name):
        return ".dockerfile"
    return ".env" if path.name == ".env" or path.name.startswith(".env.") else path.suffix.lower()


def _beside(path: Path, text: str) -> Known:
    """What stands beside a file and belongs to it: ``.env`` of compose files, environment and option files."""
    names = [".env"] if re.search(r"^services:", text, re.M) else []
    names += [match.rpartition("/")[2] for match in re.findall(r"^EnvironmentFile=-?(\S+)", text, re.M)[:4]]
    names += re.findall(r"^\s*env_file:\s*\.?/?([\w.-]+)\s*$", text, re.M)[:4]
    names += OPTIONS_FILE.findall(text)[:4]
    names += re.findall(r"^\s*(?:source|\.)\s.*?([\w.-]+)[\"']?\s*$", text, re.M)[:4]
    variables: dict[str, str] = {}
    files: dict[str, tuple[str, int]] = {}
    for name in dict.fromkeys(names):
        neighbour = path.parent / name
        if is_file(neighbour):
            held = read_document_text(neighbour)
            files[name] = (held, 1)
            variables |= read_variables(held).values if name.startswith(".env") or name.endswith(".env") else {}
    return Known(files=files, variables=variables)


def parse_document(text: str, *, name: str, suffix: str = "") -> Document:
    """Read the first plan of a text."""
    return parse_plans(text, name=name, suffix=suffix)[0]


def parse_plans(text: str, *, name: str, suffix: str = "", known: Known | None = None) -> tuple[Document, ...]:
    """Read all plans of a text.

    Raises
    ------
    InputError
        If no statement about a plan is found in it.
    """
    plans = [plan for plan in _parse(text, name, suffix, known or Known()) if plan.statements]
    if not plans:
        raise InputError(f"{printable(name)}: no statement about a plan was found in it; see docs/audit.md")
    return tuple(plans)


def _parse(text: str, name: str, suffix: str, known: Known) -> list[Document]:
    refuse_other(text, name, is_tree=suffix in _TREES or (suffix == "" and text.lstrip()[:1] == "{"))
    if suffix == ".ipynb":
        return _notebook(text, name, known)
    if suffix == ".dockerfile":
        launches = launches_of_dockerfile(text, known)
        return documents_of(Page(name, "command"), launches) if launches else []
    if suffix in (".rst", ".rest"):
        return read_page(to_markdown(text), name, known)
    if suffix == ".py" or (suffix == "" and text.startswith("#!") and "python" in text.partition("\n")[0]):
        return _python(text, name)
    if suffix == ".service" or (suffix not in (".md", ".markdown", *_TREES) and looks_like_unit(text)):
        return _unit(text, name, known)
    if suffix in _TREES or (suffix not in (".md", ".markdown") and text.lstrip()[:1] in ("{", "[")):
        return _tree(text, name, "json" if suffix == ".json" or text.lstrip()[:1] in ("{", "[") else "yaml", known)
    if suffix == ".env" or (suffix not in (".md", ".markdown") and looks_like_variables(text)):
        return _variables(text, name)
    if suffix in _SHELL_SUFFIXES or (suffix not in (".md", ".markdown") and _is_script(text)):
        return _script(text, name, known)
    return read_page(text, name, known)


def _is_script(text: str) -> bool:
    """Whether a text without an ending that says so is commands alone."""
    if text.startswith("#!"):
        return True
    lines = [line for line in re.sub(r"\\\s*\n", " ", text).split("\n") if line.strip()]
    return bool(lines) and bool(engine_of(text)) and all(_COMMANDLIKE.match(line) for line in lines)


def _script(text: str, name: str, known: Known) -> list[Document]:
    """A shell script: its engine starts, with the GPUs that a batch system is asked for."""
    script = read_script(text, environment=known.variables, files=known.files)
    launches, lines = [], []
    for command in script.commands:
        call = read_call(command)
        if call is not None and call.fields:
            launches.append(launch_of_call(call, command, form="engine command"))
        else:
            lines.append(ReadLine(command.line, printable(command.text), "command, says nothing about the plan"))
    if not launches:
        return read_page(text, name, known)
    from shardproof.solver.documents.batch_jobs import with_batch_request

    comments = "\n".join(line if line.lstrip().startswith("#") else "" for line in text.split("\n"))
    told = [statement for launch in launches for statement in launch.statements]
    devices = named_devices(told, comments, several=len(launches) > 1, strict=True)
    page = Page(name, "command", tuple(devices), lines=tuple(lines[:200]))
    return documents_of(page, [with_batch_request(launch, text) for launch in launches])


def _unit(text: str, name: str, known: Known) -> list[Document]:
    script, environment = script_of_unit(text, {key: held for key, (held, _) in known.files.items()})
    launches = []
    for command in read_script(script, environment=environment | known.variables).commands:
        call = read_call(command)
        if call is not None:
            launches.append(launch_of_call(call, command, form="systemd unit"))
    return documents_of(Page(name, "command"), launches) if launches else []


def _variables(text: str, name: str) -> list[Document]:
    launch = launch_of_variables(read_variables(text))
    return documents_of(Page(name, "command"), [launch]) if launch is not None else []


def _python(text: str, name: str) -> list[Document]:
    launches = read_python(text)
    if launches is None:
        raise InputError(f"{printable(name)}: is no Python that can be parsed; correct it or name its language")
    return documents_of(Page(name, "command"), launches) if launches else []


def _notebook(text: str, name: str, known: Known) -> list[Document]:
    """Every cell: Markdown as one page, code and shell as launches."""
    trees = read_tree(re.sub(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}", "?", text, flags=re.I), name=name)
    if not trees or not is_notebook(trees[0]):
        raise InputError(f"{printable(name)}: is no notebook: it has no cells; see docs/audit.md")
    launches: list[Launch] = []
    statements: list[Statement] = []
    unread: list[Unread] = []
    for part in parts_of(trees[0]):
        found = _cell(part, name, known)
        if isinstance(found, list):
            launches += [_placed(launch, part) for launch in found]
        else:
            statements += [replace(item, line=_line(part, item.line)) for item in found.statements]
            unread += [replace(item, line=_line(part, item.line)) for item in found.unread]
    return documents_of(Page(name, "markdown", tuple(statements), tuple(unread)), launches)


def _cell(part: Part, name: str, known: Known) -> list[Launch] | Document:
    if part.language == "markdown":
        return read_page(part.text, name, known)[0]
    if part.language == "python":
        return read_python(part.text) or []
    found = []
    for command in read_script(part.text).commands if part.language == "shell" else ():
        call = read_call(command)
        if call is not None and call.fields:
            found.append(launch_of_call(call, command, form="notebook cell"))
    return found


def _line(part: Part, line: int) -> int:
    return part.lines[min(max(line, 1), len(part.lines)) - 1][0]


def _placed(launch: Launch, part: Part) -> Launch:
    return replace(
        launch,
        line=_line(part, launch.line),
        statements=tuple(replace(item, line=_line(part, item.line)) for item in launch.statements),
        unread=tuple(replace(item, line=_line(part, item.line)) for item in launch.unread),
    )


def _tree(text: str, name: str, kind: Kind, known: Known) -> list[Document]:
    """A manifest or values of a known form, else the plan that its keys spell out."""
    trees = read_tree(text, name=name) if _may_be_form(text) else ()
    if len(trees) == 1 and is_notebook(trees[0]):
        return _notebook(text, name, known)
    try:
        found = read_forms(trees, known) if trees else None
    except InputError as error:  # of a file that a ConfigMap holds
        raise InputError(replace(one, where=f"{printable(name)}, {one.where}") for one in error.problems) from None
    if found is not None:
        launches, places = found
        page = Page(name, kind, lines=tuple(ReadLine(line, "", form) for line, form in places))
        if not launches:
            forms = ", ".join(dict.fromkeys(form for _, form in places))
            raise InputError(f"{printable(name)}: read as {printable(forms)}; no container in it starts an engine")
        return documents_of(page, launches)
    return _flat(text, name, kind, known)


_FORM = re.compile(
    r"^\s*[\"']?(?:kind|services|servingEngineSpec|modelArtifacts|applications|llm_configs|nbformat|cells)[\"']?\s*:",
    re.M,
)


def _may_be_form(text: str) -> bool:
    return bool(_FORM.search(text))


def _flat(text: str, name: str, kind: Kind, known: Known) -> list[Document]:
    """A plan as keys and values, whatever their nesting; a value that is a page of its own is read as one."""
    if may_hold_pools(text):
        pools = [launch for tree in read_tree(text, name=name) for launch in launches_of_pools(tree)]
        if pools:
            return documents_of(Page(name, kind), pools)
    entries = flatten(text, name=name)
    if len(entries) > MAX_VALUES:
        raise InputError(f"{printable(name)}: holds more than {MAX_VALUES} values; this is no plan document")
    keys = {entry.key.replace("-", "_") for entry in entries} | {part for entry in entries for part in entry.sections}
    options = _engine_options(text, name, keys)
    engine = options.engine if options is not None else ""
    launches: list[Launch] = [options] if options is not None else []
    own = {s.line for s in options.statements[1:]} if options is not None else set()
    statements: list[Statement] = []
    unread: list[Unread] = []
    pages: list[Document] = []
    for entry in entries:
        if entry.line in own and not entry.subject:
            continue
        if engine_of(entry.value) and "\n" in entry.value and re.search(r"^(?:```|#+ )", entry.value, re.M):
            pages += [
                _moved(plan, entry.line) for plan in read_page(entry.value, name, known) if plan.start is not None
            ]
            continue
        if engine_of(entry.value):
            script = read_script(entry.value, line=entry.line)
            calls = [(read_call(command), command) for command in script.commands]
            launches += [launch_of_call(call, one, form="engine command") for call, one in calls if call is not None]
            continue
        found, reason = ([], "picks tokens") if _is_sampling(entry, keys) else interpret(entry)
        statements += found
        unread += leftovers(entry, found, section=section_kind(entry.sections) if entry.sections else "none")
        if not found:
            unread.append(Unread(entry.line, entry.text or f"{entry.key}: {printable(entry.value)}", reason))
    page = Page(name, kind, tuple(statements), tuple(unread))
    own_plans = [replace(plan, engine=plan.engine or engine, kind=kind) for plan in documents_of(page, launches)]
    return [plan for plan in own_plans if plan.statements or not pages] + pages


def _is_sampling(entry: Entry, keys: set[str]) -> bool:
    """Whether ``top_k`` stands beside a temperature: then it picks tokens, not experts."""
    return bool(re.fullmatch(r"top[-_]?k", entry.key.lower())) and bool(keys & {"temperature", "top_p"})


def _moved(plan: Document, line: int) -> Document:
    """A page that is a value of a file, at the place of the value."""
    return replace(
        plan,
        statements=tuple(replace(item, line=item.line + line) for item in plan.statements),
        unread=tuple(replace(item, line=item.line + line) for item in plan.unread),
        lines=tuple(replace(item, line=item.line + line) for item in plan.lines),
        start=None if plan.start is None else (plan.start[0] + line, plan.start[1]),
    )


def _engine_options(text: str, name: str, keys: set[str]) -> Launch | None:
    """Options of an engine in a file of their own: TensorRT-LLM's, or vLLM's and SGLang's ``--config``."""
    engine = "trtllm" if keys & TELLING else ""
    engine = engine or ("vllm" if keys & {"gpu_memory_utilization", "max_num_batched_tokens", "max_model_len"} else "")
    engine = engine or ("sglang" if keys & {"mem_fraction_static", "model_path", "tp_size"} else "")
    if not engine:
        return None
    trees = read_tree(text, name=name)
    if not trees:
        return None
    launch = options_launch(trees[0], (), 0, name)
    return launch if engine == "trtllm" else _options_of(engine, trees[0], name)


def _options_of(engine: str, tree: Node, name: str) -> Launch:
    from shardproof.solver.documents.launch import options_of
    from shardproof.solver.documents.values import make

    about = make(Entry(tree.line, name, (), "", name), "engine", engine, "engine")
    statements = (about, *options_of(engine, tree, ()))
    return Launch(engine, "engine options", tree.line, name, statements, open=True)
