"""Judge of flags that the engine does not know: it ends at once where it meets one."""

from __future__ import annotations

from shardproof.solver.audit.claim import Claim, contradicted, not_checkable
from shardproof.solver.audit.context import Context
from shardproof.solver.documents.known_flags import unknown_flag
from shardproof.solver.documents.statement import Statement


def judge_flag(context: Context, statement: Statement) -> Claim:
    """A flag spelt nearly like a known one is wrong; any other may be of a release that is not recorded."""
    found = unknown_flag(context.document.engine, str(statement.value))
    if found is None:
        return not_checkable(statement, "a flag of the engine")
    judge = contradicted if found.meant else not_checkable
    return judge(statement, found.sentence, found.nearest or None)


JUDGES = {"unknown_flag": judge_flag}
