"""Parses shell scripts with tree-sitter's Bash grammar, within the time that there is."""

import re
import threading
from typing import Final

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from llmtrace.analyzers.actions.budget import Budget

FOREIGN: Final = re.compile(r"[^\x01-\x7f]")
PIECE: Final = 512
"""Bytes that the parser is handed at once."""
MAX_BACK: Final = 16 * 1024
"""Characters before a place that its statement may begin."""
STATEMENTS: Final = frozenset({"command", "redirected_statement", "comment", "variable_assignment"})

_local = threading.local()


def parse(text: str, budget: Budget) -> tuple[Node, bool]:
    """Return the root of the syntax tree, and whether there was time to read all of the text.

    The grammar's scanner looks letters up in a table of 256 and dies of others, so it is shown
    ``x`` for each that is not ASCII: to a shell they are letters like any. Offsets of nodes are
    then those of code points. It also asks for its column again and again, which takes time by
    the square of a line's length; so it is handed the text in pieces while there is time, which
    lets other threads run, too.
    """
    source = FOREIGN.sub("x", text).encode("ascii")
    if len(source) <= PIECE:
        return _parser().parse(source).root_node, True
    end = budget.clock() + budget.seconds
    hurried = False

    def piece(offset: int, _: object) -> bytes:
        nonlocal hurried
        hurried = hurried or budget.clock() > end
        return b"" if hurried else source[offset : offset + PIECE]

    root = _parser().parse(piece).root_node
    budget.seconds = max(0.0, end - budget.clock())
    return root, not hurried


def _parser() -> Parser:
    """Return the parser of this thread, made when it is first used."""
    parser: Parser | None = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = Parser(Language(tree_sitter_bash.language()))
    return parser


def statement_before(text: str, place: int) -> int:
    """Return where the statement begins that a place of a script lies in.

    Where that is far before the place (a text that is fed to a command, say), where it ends.
    """
    root, _ = parse(text, Budget())
    node = root.descendant_for_byte_range(place, place)
    while node is not None and node.type not in STATEMENTS:
        node = node.parent
    if node is None:
        return place
    return node.start_byte if node.start_byte >= place - MAX_BACK else node.end_byte
