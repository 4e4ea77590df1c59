"""Shell text read word by word: quotes, line ends, variables, here-documents; nothing is run.

A script becomes the list of its simple commands. ``NAME=value`` (with ``export``, defaults and arrays) is kept
and put in where ``$NAME`` or ``${NAME}`` stands; what cannot be known without running (``$(...)``, ``$1``,
unset names) stays as it is written, so that a flag with such a value is told apart from one that is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shardproof.solver.documents.shell_words import BREAKS, MAX_WORD, Quoted, Word, split, words_of_text

MAX_NESTED = 4
_ASSIGNMENT = re.compile(r"^([A-Za-z_]\w*)(\+?)=(.*)$", re.S)
_VARIABLE = re.compile(
    r"\$(?:\{([A-Za-z_]\w*)(?:\[@\]|\[\*\])?(?::?[-=]([^{}]*))?\}|([A-Za-z_]\w*)|\(([A-Za-z_]\w*)\))"
)
_HERE = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")
_SHELLS = frozenset({"sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/bash", "zsh", "/bin/zsh", "ash", "dash"})
_KEYWORDS = frozenset({"then", "do", "else", "{", "(", "!", "time", "exec", "nohup", "sudo", "$", ">", "command"})


@dataclass(frozen=True)
class Command:
    """One simple command: its words, the variables that it sees, and the files written before it."""

    words: tuple[Word, ...]
    environment: dict[str, str]
    files: dict[str, tuple[str, int]]

    @property
    def line(self) -> int:
        """Where it starts."""
        return self.words[0].line if self.words else 1

    @property
    def text(self) -> str:
        """The command on one line."""
        return " ".join(word.text for word in self.words)


@dataclass
class _Script:
    """What is known while a script is read."""

    environment: dict[str, str]
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    comments: list[Word] = field(default_factory=list)


@dataclass(frozen=True)
class Script:
    """A script as read: its commands, its comments, and the variables that it sets."""

    commands: tuple[Command, ...]
    comments: tuple[Word, ...]
    environment: dict[str, str]
    files: dict[str, tuple[str, int]]


def read_script(
    text: str,
    *,
    line: int = 1,
    environment: dict[str, str] | None = None,
    files: dict[str, tuple[str, int]] | None = None,
    nested: int = 0,
) -> Script:
    """Read a script that starts on ``line`` of its document."""
    script = _Script(dict(environment or {}), dict(files or {}))
    text, here = _take_here_documents(text, line)
    script.files |= here
    pending: list[Word] = []
    for word in words_of_text(text, line, script.comments):
        if word.text in BREAKS and not getattr(word, "quoted", False):
            _finish(script, pending, nested)
            pending = []
        else:
            pending.append(word)
    _finish(script, pending, nested)
    return Script(tuple(script.commands), tuple(script.comments), script.environment, script.files)


def expand(text: str, environment: dict[str, str]) -> str:
    """Put the values of known variables in; unknown ones stay as written."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3] or match[4]
        known = environment.get(name)
        if known:
            return known
        if match[2] is not None:
            return match[2].strip("'\"")
        return known if known is not None else match[0]

    for _ in range(MAX_NESTED):
        changed = _VARIABLE.sub(value, text)[:MAX_WORD]
        if changed == text:
            break
        text = changed
    return text


def _take_here_documents(text: str, line: int) -> tuple[str, dict[str, tuple[str, int]]]:
    """Cut here-documents out, leaving empty lines; return them by the name of the file they are written to."""
    lines, kept, found = text.split("\n"), [], {}
    index = 0
    while index < len(lines):
        match = _HERE.search(lines[index])
        kept.append(lines[index][: match.start()] + lines[index][match.end() :] if match else lines[index])
        index += 1
        if match is None:
            continue
        start, body = index, []
        while index < len(lines) and lines[index].strip() != match[2]:
            body.append(lines[index])
            index += 1
        target = re.search(r"(?:>>?|\btee(?: -a)?)\s*['\"]?([\w./~${}-]+)", lines[start - 1])
        name = target[1].rpartition("/")[2] if target else f"here-document {line + start}"
        found[name] = ("\n".join(body), line + start)
        kept += [""] * (index - start + (index < len(lines)))
        index += 1
    return "\n".join(kept), found


def _finish(script: _Script, pending: list[Word], nested: int) -> None:
    """Take the words between two operators: assignments, and the command after them."""
    words = _gather_arrays(script, _without_redirections(pending))
    while words and words[0].text in _KEYWORDS:
        words = words[1:]
    own = dict(script.environment)
    if words and words[0].text in ("export", "declare", "local", "readonly", "set", "env", "ENV"):
        words = words[1:]
        while words and words[0].text.startswith("-"):
            words = words[1:]
    prefix: dict[str, str] = {}
    while words and (match := _ASSIGNMENT.match(words[0].text)):
        literal = isinstance(words[0], Quoted) and words[0].literal
        before = own.get(match[1], "") if match[2] else ""
        value = match[3] if literal else expand(match[3], own)
        prefix[match[1]] = f"{before} {value}".strip() if match[2] else value
        own |= prefix
        words = words[1:]
    if not words:
        script.environment |= prefix
        return
    expanded = _expanded(words, own)
    if expanded[0].text in ("source", ".") and len(expanded) > 1:
        held = script.files.get(expanded[1].text.rpartition("/")[2])
        if held is not None and nested < MAX_NESTED:
            script.environment |= read_script(held[0], environment=script.environment, nested=nested + 1).environment
        return
    if expanded[0].text == "eval" and nested < MAX_NESTED:
        text = " ".join(word.text for word in expanded[1:])
        script.commands += read_script(
            text, line=expanded[0].line, environment=own, files=script.files, nested=nested + 1
        ).commands
        return
    script.commands.append(Command(tuple(expanded), own, dict(script.files)))
    if nested < MAX_NESTED:
        _inner(script, expanded, own, nested)


def script_word(words: Sequence[Word]) -> int | None:
    """Return the place of the text that a shell is handed by ``-c``; ``None`` where it is handed none."""
    for place, word in enumerate(words):
        if re.fullmatch(r"-[a-z]*c", word.text):
            after = place + 1
            while after < len(words) and words[after].text == "--":
                after += 1
            return after if after < len(words) else None
    return None


def _inner(script: _Script, words: list[Word], environment: dict[str, str], nested: int) -> None:
    """Read the script of ``bash -c "..."``; it takes the place of the command that holds it."""
    for place, word in enumerate(words[:-1]):
        if word.text in _SHELLS:
            options = words[place + 1 :]
            held = script_word(options)
            if held is not None:
                body = options[held]
                below = read_script(
                    body.text, line=body.line, environment=environment, files=script.files, nested=nested + 1
                )
                if below.commands:
                    before = tuple(words[:place])
                    script.commands.pop()
                    script.commands += [replace(c, words=before + c.words) for c in below.commands]
                return


def _without_redirections(words: list[Word]) -> list[Word]:
    kept: list[Word] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.text in ("<", ">") and not isinstance(word, Quoted):
            skip = True
            if kept and re.fullmatch(r"[0-2]", kept[-1].text):
                kept.pop()
        else:
            kept.append(word)
    return kept


def _gather_arrays(script: _Script, words: list[Word]) -> list[Word]:
    """Keep ``NAME=( ... )`` as the variable that ``"${NAME[@]}"`` asks for."""
    if not words or not re.match(r"^[A-Za-z_]\w*\+?=\(", words[0].text):
        return words
    name, _, head = words[0].text.partition("=(")
    values = [replace(words[0], text=head), *words[1:]]
    inner = [expand(word.text.rstrip(")"), script.environment) for word in values]
    before = script.environment.get(name.rstrip("+"), "") if name.endswith("+") else ""
    script.environment[name.rstrip("+")] = " ".join(part for part in (before, *inner) if part)
    return []


def _expanded(words: list[Word], environment: dict[str, str]) -> list[Word]:
    """Put variables in; one that holds several words becomes several, unless it is quoted for one."""
    found: list[Word] = []
    for word in words:
        if isinstance(word, Quoted) and word.literal:
            found.append(word)
            continue
        text = expand(word.text, environment)
        whole = _VARIABLE.fullmatch(word.text) is not None and " " in text
        if whole and (not isinstance(word, Quoted) or "[@]" in word.text):
            found += [Word(part, word.line) for part in split(text)]
        else:
            found.append(replace(word, text=text))
    return found


__all__ = ["Command", "Script", "Word", "expand", "read_script", "script_word", "split"]
