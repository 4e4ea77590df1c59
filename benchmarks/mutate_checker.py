"""Mutate the checker line by line: every mutant must judge some certificate differently.

``python -m benchmarks.mutate_checker`` runs every mutant over the stored verdicts
(tests/data/certificates.jsonl.gz), which the tests run too; ``--collect N`` first judges N forgeries and true
certificates, and stores those that kill a mutant that the stored ones do not. What survives is listed, line by
line; EQUIVALENT says why a listed survivor cannot be told from the checker.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import signal
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.forge import BASES, base, forged
from benchmarks.two_rows import moved, two_rows
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate import to_document
from tests.oracles.agreement import certified
from tests.oracles.certificates import document, store, stored
from tests.oracles.random_programs import random_program

SOURCE = Path(checker.__file__)
SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.FloorDiv: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "bisect_right": "bisect_left"}


EQUIVALENT: tuple[tuple[str, str, str], ...] = (
    ("strict=True", "True -> False", "both sides have the same length by construction"),
    ("for width in sorted(", "sorted dropped", "sums do not hang on the order of widths"),
    ("maximal: Any", "any -> all", "dominated sums may stay"),
    ("sys.exit(4)", "for v in found if not any", "dominated sums may stay"),
    ("able = [[{", "2 -> 3", "a further row holds the same sums"),
    ("found[of] = max(", "0 -> -1", "no value is below 0"),
    ("allowed = [set(", "set dropped", "a list contains the same options"),
    ("need(0 < sum(count", "", "no layers at all are refused one line later: there is no largest kind"),
    ("for items in labels[1:] +", "", "further empty label lists follow that no option reaches"),
    ("tops = accumulate(", "0 -> -1", "a label of layer 0 dominates nothing that is extended"),
    ("stairs.append(", "Gt -> GtE", "of two labels at one layer either dominates whatever the bisection left"),
    ("fits = held[-1:]", "2 -> 1", "with one surrogate the slower scan finds the same label"),
    ("fits = held[-1:]", "1 -> 0", "more labels of the same prefix, whose last has the most layers"),
    ("fits = held[-1:]", "1 -> 2", "more labels of the same prefix, whose last has the most layers"),
    ("reached = max(", "0 -> -1", "either is below any label, and refused"),
    ("need(max(spans, default=-1)", "1 -> ", "the budget of a replica count up to max_gpus is at least 1"),
    ("self.spread: Any", "0 -> ", "sums are only ever subtracted from each other"),
    ("ends = [bisect_right(c, top", "2 -> ", "no stage of no layers: the start itself is found either way"),
)
"""Line of the checker, change (empty: any), and why such a mutant judges every certificate alike."""


@dataclass(frozen=True)
class Mutant:
    """One change of the checker."""

    line: int
    change: str
    module: types.ModuleType


def mutants() -> Iterator[Mutant]:
    """Yield every mutant of the checker."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    count = len(list(ast.walk(tree)))
    skipped = {id(node) for node in _outside_the_logic(tree)}
    for place in range(count):
        original = node_at(tree, place)
        if id(original) in skipped:
            continue
        for change, edit in edits(original):
            changed = copy.deepcopy(tree)
            edit(node_at(changed, place))
            module = types.ModuleType("mutant")
            try:
                code = compile(ast.fix_missing_locations(changed), "mutant", "exec")
                exec(code, module.__dict__)
            except Exception:
                continue
            where = f"column {getattr(original, 'col_offset', 0)}: {change}"
            where += f" in {ast.unparse(original)}" if isinstance(original, ast.comprehension) else ""
            yield Mutant(getattr(original, "lineno", 0), where, module)


def node_at(tree: ast.AST, place: int) -> ast.AST:
    """Return a node by its place in the walk of a tree."""
    return next(node for index, node in enumerate(ast.walk(tree)) if index == place)


def _outside_the_logic(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield annotations, messages and the command at the end of the file."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef):
            parts = [node.returns, *(arg.annotation for arg in (*node.args.args, *node.args.kwonlyargs))]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Compare):
            names = [name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)]
            parts = [node] if "__name__" in names else []
        elif isinstance(node, ast.JoinedStr):
            parts = [node]
        for part in parts:
            if part is not None:
                yield from ast.walk(part)


Edit = Callable[[Any], None]


def edits(node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """Yield the changes of one node: a description, and how to make it on a copy."""
    match node:
        case ast.Compare() | ast.BoolOp() | ast.BinOp() | ast.AugAssign():
            yield from _swaps(node)
        case ast.Constant(value=bool() as truth):
            yield f"{truth} -> {not truth}", lambda copied: setattr(copied, "value", not copied.value)
        case ast.Constant(value=int() as number):
            for step in (1, -1):
                yield f"{number} -> {number + step}", _adder(step)
        case ast.Name(id=name) if name in NAMES and isinstance(node.ctx, ast.Load):
            yield f"{name} -> {NAMES[name]}", _renamer(NAMES[name])
        case ast.IfExp() | ast.If():
            yield "condition negated", _negate
        case ast.Expr(value=ast.Call(func=ast.Name(id="need"))):
            yield "need dropped", lambda copied: setattr(copied, "value", ast.Constant(None))
        case ast.keyword(arg="strict" | "initial"):
            return
        case ast.comprehension(ifs=[_, *_]):
            yield "filter dropped", lambda copied: setattr(copied, "ifs", [])
        case ast.Call(func=ast.Name(id="reversed" | "sorted" | "set" | "list")) if len(node.args) == 1:
            yield f"{node.func.id} dropped", _unwrap  # type: ignore[attr-defined]


def _swaps(node: Any) -> Iterator[tuple[str, Edit]]:
    operators = node.ops if isinstance(node, ast.Compare) else [node.op]
    for index, operator in enumerate(operators):
        for other in SWAPS.get(type(operator), ()):

            def edit(copied: Any, index: int = index, other: type[Any] = other) -> None:
                if isinstance(copied, ast.Compare):
                    copied.ops[index] = other()
                else:
                    copied.op = other()

            yield f"{type(operator).__name__} -> {other.__name__}", edit


def _adder(step: int) -> Edit:
    return lambda copied: setattr(copied, "value", copied.value + step)


def _renamer(name: str) -> Edit:
    return lambda copied: setattr(copied, "id", name)


def _negate(copied: Any) -> None:
    copied.test = ast.UnaryOp(ast.Not(), copied.test)


def _unwrap(copied: Any) -> None:
    copied.func = ast.Name("list", ast.Load())


class TooLongError(Exception):
    """A mutant does not come back."""


def _alarm(*_: object) -> None:
    raise TooLongError


def judged(module: types.ModuleType, text: str) -> str | None:
    """Return what a checker says of a certificate: its claim, ``None`` for refused, or how it fails."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        claim: str = module.check(text.encode())
    except TooLongError:
        return "does not come back"
    except Exception as error:
        return None if type(error).__name__ == "CheckError" else f"crash {type(error).__name__}"
    else:
        return claim
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def candidates(count: int, first: int = 0) -> list[tuple[str, str | None]]:
    """Return true certificates and forgeries with the checker's verdicts."""
    texts = [base(seed) for seed in range(min(BASES, count // 10))] + frontiers(count)
    full = [text for seed in range(count) if (text := two_rows(seed)) is not None]
    changed = (moved(text, Random(f"moved {place}")) for place, text in enumerate(full * 4))
    texts += full[: count // 4] + [text for text in changed if text is not None]
    for seed in range(first, first + count):
        made = forged(seed)
        if made is not None:
            texts.append(made[1])
    return [(text, judged(checker, text)) for text in texts]


SUM_LEAF = '["axis", 0], ["leaf", [[["sum", "ttft", 1]]], []]'
EMPTY_TABLE = '{"base": [0, 0], "entry": [0, 0], "first": [0, 0], "last": [0, 0], "layer": [[0], [0]], "slack": 0}'
PAIRS: tuple[tuple[tuple[str, str], ...], ...] = (
    (('"limit": 6', '"limit": 9'), ('"limit": 12', '"limit": 13'), ('"microbatches": 1', '"microbatches": 2')),
    (('"limit": 6', '"limit": 9'), ('"limit": 12', '"limit": 12'), ('"microbatches": 1', '"microbatches": 2')),
    (('"upper": 2', '"upper": 4'), ("[[0, 3, 1]]", "[[0, 1, 1], [2, 3, 1]]")),
    (('"upper": 2', '"upper": 4'), ("[[0, 3, 1]]", "[[0, 2, 1], [1, 3, 1]]")),
    (('"upper": 2', '"upper": 3'), ("[[0, 3, 1]]", "[[0, 3, 1], [3, 3, 0]]")),
    (('"upper": 2', '"upper": 3'), ("[[0, 3, 1]]", "[[0, 0, 0], [0, 3, 1]]")),
    (
        ('"limit": 6', '"limit": 9'),
        ('"base": [1, 1]', '"base": [20, 1]'),
        ("[[4], [3]]", "[[0], [3]]"),
        ('"slack": 0}],', '"slack": 1}],'),
        ("12", "18"),
    ),
    (("[[0, 3]]", "[[0, 2], [1, 1]]"), ("[[3], [2]]", "[[3, 3], [2, 2]]"), ("[[4], [3]]", "[[4, 4], [3, 3]]")),
    (
        ("[[0, 3]]", "[[0, 2], [1, 1]]"),
        ("[[3], [2]]", "[[3, 3], [2, 2]]"),
        ("[[4], [3]]", "[[4, 4], [3, 3]]"),
        ('"rows": [{"name"', f'"extra": [{EMPTY_TABLE}], "rows": [{{"name"'),
        ('}], "extra": [', "}, "),
    ),
)


def _replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        text = text.replace(old, new, 1)
    return text


def edges() -> Iterator[dict[str, Any]]:
    """Yield documents at edges that texts edited by hand do not meet: shapes, budgets, sums of two shapes, zeros."""
    alike = document()
    alike["program"]["replicas"], alike["plan"] = "alike", alike["plan"] * 2
    alike["claims"]["gpus"]["upper"] = 4
    yield alike
    over = document()
    over["program"]["max_gpus"], over["plan"][0]["replicas"], over["claims"]["gpus"]["upper"] = 3, 2, 4
    yield over
    nobody = document()
    nobody["program"]["demand"], nobody["program"]["shares"][0]["load"] = [], []
    nobody["claims"]["gpus"] |= {"lower": 0, "refused": []}
    yield nobody
    beyond = document()
    beyond["program"]["rows"][0]["limit"], beyond["program"]["shares"][0]["layouts"][0]["max_gpus"] = 0, 10
    beyond["claims"]["gpus"] |= {"lower": 6, "upper": None}
    beyond["claims"]["gpus"]["refused"][0]["gpus"] = 5
    beyond["plan"] = None
    yield beyond
    for place, name in enumerate(("memory_bytes", "ttft_ns")):
        nothing = document()
        nothing["program"]["tables"][place] |= {"layer": [[0], [0]], "base": [0, 0]}
        nothing["claims"]["gpus"] |= {"lower": 0, "refused": []}
        nothing["claims"][name] = {"lower": 0, "upper": 0, "by": "certified", "refused": []}
        yield nothing
    yield _two_shapes()


def _two_shapes() -> dict[str, Any]:
    """A lowest TTFT that holds of fleets of one shape, and not of one GPU with one request beside two with three."""
    found = document()
    program, row = found["program"], {"name": "load", "table": 0, "limit": 0, "microbatches": 0}
    program["rows"] = [found["program"]["rows"][1] | {"limit": 20}, row]
    layout = program["shares"][0]["layouts"][0] | {"rows": []}
    layout["axes"][0]["choices"][0]["rows"] = [0]
    program["shares"] = [
        {"load": [load], "layouts": [layout | {"rows": [1] if refused else []}]}
        for load, refused in ((1, False), (3, False), (2, True), (4, True))
    ]
    program["demand"] = [4]
    group = found["plan"][0]
    found["plan"] = [group | {"share": 0, "stages": [[0, 3, 0]]}, group | {"share": 1, "stages": [[0, 3, 1]]}]
    trees = [[["leaf", [[["volume", "load", 1]]], []]]]
    refused = [{"gpus": 1, "share": 2, "trees": trees}, {"gpus": 3, "share": 3, "trees": trees}]
    found["claims"] |= {
        "gpus": {"lower": 0, "upper": 3, "by": "certified", "refused": []},
        "ttft_ns": {"lower": 13, "upper": 13, "by": "certified", "refused": refused},
    }
    return found


def _without_trees(text: str) -> str:
    document = json.loads(text)
    document["claims"]["gpus"]["refused"] = []
    return json.dumps(document)


def frontiers(count: int) -> list[str]:
    """Return true certificates with frontiers, and those with one label moved a little."""
    texts: list[str] = []
    for seed in range(count):
        text = json.dumps(to_document(certified(random_program(seed, max_layers=6, max_gpus=6))))
        random = Random(f"frontier {seed}")
        document = json.loads(text)
        claims = [claim for claim in document["claims"].values() if claim is not None]
        trees = [tree for claim in claims for one in claim["refused"] for tree in one["trees"]]
        leaves = [node for tree in trees for node in tree if node[0] == "leaf"]
        leaves = [leaf for leaf in leaves if leaf[1] and len(leaf[2]) > 1]
        if not leaves or (len(texts) > count // 2 and all(len(leaf[1]) < 2 for leaf in leaves)):
            continue
        texts.append(text)
        for _ in range(6):
            label = random.choice([x for x in random.choice(leaves)[2][1:] if x] or [[[0, 0]]])
            item = random.choice(label)
            place = random.randrange(len(item))
            old = item[place]
            item[place] = max(0, old + random.randint(-6, 6))
            texts.append(json.dumps(document))
            item[place] = old
    return texts


def handmade() -> list[tuple[str, str | None]]:
    """Return certificates at the edges of what is well formed, which no forgery of a random program meets."""
    changes: tuple[tuple[str, str], ...] = (
        ("[[0, 3]]", "[[0, 0]]"),
        ('"max_gpus": 4', '"max_gpus": 4, "max_gpus": 4'),
        ('"max_gpus": 4', '"max_gpus": 4.0'),
        ('"max_gpus": 4', '"max_gpus": true'),
        ("certificate 2", "certificate 1"),
        ('"stages": [[0, 3, 1]]', '"stages": [[0, 1, 1], [2, 3, 1]]'),
        ('"stages": [[0, 3, 1]]', '"stages": [[0, 2, 0], [2, 3, 0], [3, 3, 0]]'),
        ('"stages": [[0, 3, 1]]', '"stages": [[0, 1, 0], [1, 1, 0], [1, 3, 0]]'),
        ("[[0, 3]]", "[[0, 3], [1, 0]]"),
        ("[[0, 3]]", "[[0, 4096]]"),
        ("[[0, 3]]", "[[0, 4097]]"),
        ('"kinds": [[0, 3]]', '"kinds": [[1, 3]]'),
        ('"options": [[1, 1, 1, 1]', '"options": [[0, 1, 1, 0]'),
        ('"options": [[1, 1, 1, 1]', '"options": [[2, 1, 1, 1]'),
        ('"replicas": 1', '"replicas": 0'),
        ('"replicas": 1', '"replicas": 2'),
        ('"replicas": "free"', '"replicas": "alike"'),
        ('"replicas": "free"', '"replicas": "any"'),
        ('"load": [1]', '"load": [0]'),
        ('"load": [1]', '"load": [2]'),
        ('"load": [1]', '"load": [1, 1]'),
        ('"gpus": 1,', '"gpus": 0,'),
        ('"gpus": 1,', '"gpus": 2,'),
        ('"name": "ttft"', '"name": "memory"'),
        ('"name": "memory"', '"name": "ttft"'),
        ('"layer": [[4], [3]]', '"layer": [[4], [3], [1]]'),
        ('"layer": [[4], [3]]', '"layer": [[4, 9], [3]]'),
        ('"layer": [[4], [3]]', '"layer": [[4], []]'),
        ('"tables": [', '"tables": [{"base": [], "entry": [], "first": [], "last": [], "layer": [], "slack": 0}, '),
        ('"name": "ttft", "table": 1', '"name": "ttft", "table": 2'),
        ('"rows": [1]', '"rows": [2]'),
        ('"rows": [1]', '"rows": [1, 2]'),
        ('"options": null', '"options": []'),
        ('"options": null', '"options": [1]'),
        ('"options": null', '"options": [2]'),
        ('"options": null', '"options": [0, 1, 1]'),
        ('"limit": 6', '"limit": null'),
        ('"limit": 12', '"limit": null'),
        ('"limit": 12', f'"limit": {10**39}'),
        ('"limit": 12', f'"limit": {10**40}'),
        ('"limit": 12', '"limit": 0'),
        ('"max_gpus": 4', '"max_gpus": 0'),
        ('"max_gpus": 4', '"max_gpus": 1'),
        ('"max_gpus": 4', '"max_gpus": 2'),
        ('"max_gpus": null', '"max_gpus": 3'),
        ('"max_gpus": null', '"max_gpus": 4'),
        ('"size": 1', '"size": 0'),
        ('"size": 1', '"size": 2'),
        ('"rule": "ceilings", "size": 1', '"rule": "listed", "size": 0'),
        ('"choices": [{"value": 1, "rows": [1], "options": null}]', '"choices": []'),
        ('"demand": [1]', '"demand": []'),
        ('"demand": [1]', '"demand": [0]'),
        ('"demand": [1]', '"demand": [2]'),
        ('"demand": [1]', '"demand": [1, 2]'),
        ('"lower": 2', '"lower": 0'),
        ('"lower": 2', '"lower": 1'),
        ('"by": "certified"', '"by": "claimed by X"'),
        ('"by": "certified"', '"by": "X"'),
        ('"instance": "by-hand"', f'"instance": "{"x" * 200}"'),
        ('"instance": "by-hand"', f'"instance": "{"x" * 201}"'),
        ('"choices": [0]', '"choices": []'),
        ('"choices": [0]', '"choices": [0, 0]'),
        ('"choices": [0]', '"choices": [1]'),
        ('"stages": [[0, 3, 1]]', '"stages": []'),
        ('"stages": [[0, 3, 1]]', '"stages": [[0, 3, 1], [3, 3, 0]]'),
        ('"stages": [[0, 3, 1]]', '"stages": [[0, 0, 0], [0, 3, 1]]'),
        ('"stages": [[0, 3, 1]]', '"stages": [[0, 2, 1], [1, 3, 1]]'),
    )
    leaves = (
        '["axis", 0], ["max", "ttft", 0], ["leaf", [[["sum", "ttft", 1]]], []], ["leaf", [[["sum", "ttft", 1]]], []]',
        '["axis", 0], ["max", "ttft", 12], ["leaf", [[["volume", "ttft", 1]]], []], ["leaf", [], []]',
        '["axis", 0], ["max", "ttft", 11], ["leaf", [[["volume", "ttft", 1]]], []], ["leaf", [], []]',
        '["axis", 0], ["max", "ttft", 13], ["leaf", [], [[[0]], [[2]]]], ["leaf", [], []]',
        '["leaf", [], [[[0]], [[2]]]]',
        '["leaf", [], [[[0]], [[1]]]]',
        '["leaf", [], [[[0]], [[1], [2]]]]',
        '["leaf", [], [[], [[2]]]]',
        '["leaf", [[]], [[[0, 0]], [[2, 0]]]]',
        '["leaf", [[], []], [[[0, 0, 0]], [[2, 0, 0]]]]',
        '["axis", 0], ["leaf", [[["sum", "ttft", 1]], [["sum", "ttft", 1]]], [[[0, 0, 0]], [[2, 5, 5], [1, 5, 5]]]]',
        '["axis", 0], ["leaf", [[["sum", "ttft", 1]]], [[[0, 0]], [[2, 9]]]]',
        '["axis", 0], ["leaf", [[["sum", "ttft", 1]]], [[[0, 0]], [[1, 5], [2, 9]]]]',
    )
    good = json.dumps(document())
    summed = good.replace('["leaf", [[["volume", "memory", 1]]], []]', SUM_LEAF, 1)
    texts = [text.replace(old, new, 1) for text in (good, summed) for old, new in (("", ""), *changes)]
    texts += [_replaced(text, *pairs) for text in (good, summed) for pairs in PAIRS]
    free = good.replace('"limit": 12', '"limit": null', 1)
    for plain in (good, free, good.replace('"microbatches": 1', '"microbatches": 2', 1)):
        texts += [plain.replace('["leaf", [[["volume", "memory", 1]]], []]', leaf, 1) for leaf in leaves]
    no_plan = [text.replace(good[good.index('"plan"') : good.index('"claims"')], '"plan": null, ', 1) for text in texts]
    texts += [text.replace('"upper": 2', '"upper": null', 1) for text in no_plan]
    texts.append(_without_trees(good))
    texts += map(json.dumps, edges())
    return [(text, judged(checker, text)) for text in texts]


def outside_its_limits(module: types.ModuleType, text: str) -> bool:
    """Whether a checker's limits of size are others, or it keeps to them otherwise."""
    own = (checker.MAX_BYTES, checker.LARGEST, checker.MAX_LAYERS, checker.VERSION)
    if own != (module.MAX_BYTES, module.LARGEST, module.MAX_LAYERS, module.VERSION):
        return True
    verdicts = []
    for size in (len(text), len(text) - 1):
        module.MAX_BYTES = size  # type: ignore[attr-defined]
        verdicts.append(judged(module, text) is None)
    module.MAX_BYTES = checker.MAX_BYTES  # type: ignore[attr-defined]
    return verdicts != [False, True]


def killer(mutant: Mutant, verdicts: list[tuple[str, str | None]]) -> int | None:
    """Return the place of the first certificate that the mutant judges differently."""
    for place, (text, verdict) in enumerate(verdicts):
        if judged(mutant.module, text) != verdict:
            return place
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every mutant; 0 when none survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", type=int, default=0, help="Look for killers among so many new certificates.")
    parser.add_argument("--first", type=int, default=0, help="First seed of the new certificates.")
    chosen = parser.parse_args(arguments)
    verdicts = stored()
    fresh = handmade() + candidates(chosen.collect, chosen.first) if chosen.collect else []
    total, survivors = 0, list[Mutant]()
    accepted = base(1)
    for mutant in mutants():
        total += 1
        if killer(mutant, verdicts) is not None or outside_its_limits(mutant.module, accepted):
            continue
        place = killer(mutant, fresh)
        if place is None:
            survivors.append(mutant)
            continue
        verdicts.insert(0, fresh.pop(place))
    if chosen.collect:
        store(verdicts)
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    unexplained = 0
    for mutant in survivors:
        line = lines[mutant.line - 1].strip()
        reason = next((why for part, change, why in EQUIVALENT if part in line and change in mutant.change), None)
        unexplained += reason is None
        word = "survives" if reason is None else f"equivalent ({reason})"
        sys.stdout.write(f"{word}: line {mutant.line}: {mutant.change}: {line[:100]}\n")
    sys.stdout.write(f"{total} mutants, {total - len(survivors)} killed by {len(verdicts)} stored certificates, ")
    sys.stdout.write(f"{len(survivors) - unexplained} equivalent, {unexplained} survive\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
