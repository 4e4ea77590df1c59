"""Words of shell text: quotes, escapes, operators and comments, each word with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_WORDS = 4_000
MAX_WORD = 20_000
BREAKS = frozenset({";", "&&", "||", "|", "&", ";;", "\n"})
"""Operators between two commands; a line break is the operator of that name."""


PLACEHOLDER = re.compile(r"<[A-Za-z][\w./|:-]*(?: [\w./|:-]+)*>(?=[\s\"'/:,]|$)")
"""``<name>`` in a page's command: what the reader is to put there, and no redirection."""


@dataclass(frozen=True)
class Word:
    """One word of a command and the line that it stands on."""

    text: str
    line: int


@dataclass(frozen=True)
class Quoted(Word):
    """A word that was quoted: an operator in it is none, and single quotes keep its variables."""

    quoted: bool = True
    literal: bool = False


def words_of_text(text: str, line: int, comments: list[Word]) -> list[Word]:
    """Split text into words and operators; a line break is the operator of that name."""
    return _Lexer(text, line, comments).read()


class _Lexer:
    """Walks a text once, character by character; holds the word that is being read."""

    def __init__(self, text: str, line: int, comments: list[Word]) -> None:
        self.text, self.line, self.comments = text, line, comments
        self.found: list[Word] = []
        self.place = 0
        self.began = line
        self.current = ""
        self.quoted = self.literal = self.array = False

    def read(self) -> list[Word]:
        """Return the words and operators."""
        while self.place < len(self.text) and len(self.found) < MAX_WORDS:
            if not self.current and not self.quoted:
                self.began = self.line
            self.step(self.text[self.place])
        self.close()
        return self.found

    def step(self, character: str) -> None:
        """Take what stands at the current place."""
        text, place = self.text, self.place
        if character == "\\" and place + 1 < len(text):
            self._escape(text[place + 1])
        elif character in "'\"":
            end = _closing(text, place)
            self.quoted, self.literal = True, self.literal or character == "'"
            self._take(text[place + 1 : end], end + 1)
        elif text.startswith("$(", place) or (character == "`" and text.find("`", place + 1) > 0):
            end = _substitution(text, place)
            self._take(text[place:end], end)
        elif character == "#" and not self.current and not self.quoted:
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            self.comments.append(Word(text[place + 1 : end].strip(), self.line))
            self.place = end
        elif character == "<" and (match := PLACEHOLDER.match(text, place)):
            self._take(match[0], match.end())
        elif character in "\n;&|<>" and not self.array:
            self._operator(character)
        else:
            self._plain(character)

    def close(self) -> None:
        """End the current word."""
        if self.current or self.quoted:
            text = self.current[:MAX_WORD]
            word = Quoted(text, self.began, literal=self.literal) if self.quoted else Word(text, self.began)
            self.found.append(word)
        self.current, self.quoted, self.literal = "", False, False

    def _take(self, text: str, place: int) -> None:
        self.current += text
        self.line += self.text.count("\n", self.place, place)
        self.place = place

    def _escape(self, following: str) -> None:
        self.place += 2
        if following == "\n":
            self.line += 1
            self.close()
        elif following == " " and self.text[self.place : self.place + 1] == "\n":
            self.place += 1  # a blank after the backslash: the writer meant the line to go on
            self.line += 1
            self.close()
        else:
            self.current += following

    def _operator(self, character: str) -> None:
        if match := re.compile(r">>?\s*&\s*[-0-9]|&>>?").match(self.text, self.place):
            if self.current.isdigit():
                self.current = ""
            self.place = match.end()
            if match[0].startswith("&"):
                self.found.append(Word(">", self.line))
            return
        self.close()
        pair = self.text[self.place : self.place + 2]
        operator = pair if pair in ("&&", "||", ";;") else character
        self.found.append(Word(operator, self.line))
        self.line += character == "\n"
        self.place += len(operator)

    def _plain(self, character: str) -> None:
        self.place += 1
        if character == "(" and re.fullmatch(r"[A-Za-z_]\w*\+?=", self.current):
            self.array = True
        elif self.array and character == ")":
            self.array = False
        if character.isspace():
            self.close()
            self.line += character == "\n"
        else:
            self.current += character


def _closing(text: str, place: int) -> int:
    """Return where a quote ends; the end of the line where it is never closed."""
    quote, end = text[place], place + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" and quote == '"' else 1
    if end >= len(text):
        end = text.find("\n", place)
    return len(text) if end < 0 else min(end, len(text))


def _substitution(text: str, place: int) -> int:
    if text[place] == "`":
        return text.find("`", place + 1) + 1
    depth, end = 0, place + 1
    while end < len(text):
        depth += (text[end] == "(") - (text[end] == ")")
        end += 1
        if depth == 0:
            return end
    return len(text)


def split(text: str) -> list[str]:
    """Split a text into words as a shell does, without its operators."""
    return [word.text for word in words_of_text(text, 1, []) if word.text not in BREAKS]
