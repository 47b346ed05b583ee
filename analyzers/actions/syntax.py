"""Reads a shell script with tree-sitter's Bash grammar, which finds commands in broken text too."""

from collections.abc import Callable, Iterator
from typing import Final

from tree_sitter import Node

from llmtrace.analyzers.actions import expand
from llmtrace.analyzers.actions.budget import Budget
from llmtrace.analyzers.actions.expand import SPLIT
from llmtrace.analyzers.actions.parsing import parse
from llmtrace.analyzers.actions.script import HOLE, Pipeline, Redirect, Script, Simple, Word
from llmtrace.analyzers.actions.tokens import without_bodies

MAX_DEPTH: Final = 48
MAX_WORD: Final = 1024 * 1024
MAX_VALUE: Final = 32 * 1024
"""Longest value that is remembered of a variable."""

MAX_PIPES: Final = 1024
"""Most pipes in a script that is parsed: the grammar takes time by the square of a pipeline."""

LITERAL: Final = frozenset({"word", "number", "string_content", "extglob_pattern", "regex"})
QUOTED: Final = frozenset({"string", "raw_string", "ansi_c_string", "translated_string"})
REDIRECTS: Final = frozenset({"file_redirect", "heredoc_redirect", "herestring_redirect"})
SCRIPTS: Final = frozenset({"command_substitution", "process_substitution"})


def read_script(text: str, budget: Budget | None = None) -> Script:
    """Return the commands of a script. Never raises; ``complete`` says if bounds were met.

    What has too many pipes is left to ``read_tokens``, as what is broken is; pipes that are only
    fed to a command are no reason to call it incomplete.
    """
    if text.count("|") > MAX_PIPES:
        told = without_bodies(text).count("|") <= MAX_PIPES
        return Script(complete=told, broken=True)
    budget = budget or Budget()
    reader = Reader(text, {}, budget)
    root, whole = parse(text, budget)
    reader.complete = whole
    reader.run(root)
    return reader.script(broken=root.has_error or not whole)


class Reader:
    """Walks a tree once, in order, and keeps what the shell would know: variables and folder."""

    def __init__(self, source: str, variables: dict[str, str], budget: Budget) -> None:
        self.source = source
        self.variables = variables
        self.budget = budget
        self.cwd = ""
        self.depth = 0
        self.complete = True
        self.pipelines: list[Pipeline] = []
        self.recursive: list[tuple[int, int]] = []
        self.scripts: list[Script] = []
        self.made: dict[str, tuple[Script, ...]] = {}
        self.special: dict[str, Callable[[Node], list[Simple]]] = {
            "command": self._alone,
            "unset_command": self._alone,
            "declaration_command": self._alone,
            "list": self._list,
            "pipeline": self._pipeline,
            "redirected_statement": self._redirected,
            "function_definition": self._function,
            "for_statement": self._loop,
            "variable_assignment": self._assignment,
            "command_substitution": self._substitution,
            "process_substitution": self._substitution,
            "file_redirect": self._redirection,
            "comment": lambda _: [],
        }

    def script(self, *, broken: bool = False) -> Script:
        """Return what was read."""
        return Script(
            tuple(self.pipelines), tuple(self.recursive), self.complete, broken, self.variables
        )

    def run(self, node: Node) -> list[Simple]:
        """Read a node; return the commands that it runs itself."""
        if not self.budget.visit() or self.depth > MAX_DEPTH:
            self.complete = False
            return []
        self.depth += 1
        try:
            special = self.special.get(node.type)
            return special(node) if special else self._children(node)
        finally:
            self.depth -= 1

    def _children(self, node: Node) -> list[Simple]:
        simples: list[Simple] = []
        before = ""
        for child in node.named_children:
            text = self._text(child) if child.type == "command" else ""
            if not text or text != before:  # said again at once, it does no more than before
                simples += self.run(child)
            before = text if "$" not in text and "`" not in text else ""
        return simples

    def _list(self, node: Node) -> list[Simple]:
        """Read ``a && b || c``, which the grammar nests to the left, however long it is."""
        rest: list[list[Node]] = []
        while node.type == "list" and node.named_children:
            first, *others = node.named_children
            rest.append(others)
            node = first
        nodes = [node, *(one for others in reversed(rest) for one in others)]
        return [simple for one in nodes for simple in self.run(one)]

    def _alone(self, node: Node) -> list[Simple]:
        simple = self._simple(node)
        self._keep((simple,), node)
        return [simple]

    def _keep(self, *stages_and_node: tuple[Simple, ...] | Node) -> None:
        *stages, node = stages_and_node
        assert isinstance(node, Node)  # noqa: S101  tells mypy the shape
        found = tuple(stage for stage in stages if isinstance(stage, tuple))
        self.pipelines.append(Pipeline(found, node.start_byte, node.end_byte))

    def _stage(self, node: Node) -> tuple[Simple, ...]:
        if node.type == "command":
            return (self._simple(node),)
        if node.type == "redirected_statement":
            return tuple(self._with_redirects(node)[0])
        return tuple(self.run(node))

    def _pipeline(self, node: Node) -> list[Simple]:
        stages = [self._stage(child) for child in node.named_children if child.type != "comment"]
        self._keep(*stages, node)
        return [simple for stage in stages for simple in stage]

    def _redirected(self, node: Node) -> list[Simple]:
        simples, rest = self._with_redirects(node)
        if rest or (body := node.child_by_field_name("body")) is None or body.type == "command":
            self._keep(tuple(simples), *rest, node)
        elif body.type == "pipeline" and self.pipelines:
            last = self.pipelines.pop()
            stages = (*last.stages[:-1], tuple(simples[-len(last.stages[-1]) :]))
            self.pipelines.append(Pipeline(stages, node.start_byte, node.end_byte))
        else:
            self._keep(tuple(simples), node)
        return [*simples, *(simple for stage in rest for simple in stage)]

    def _with_redirects(self, node: Node) -> tuple[list[Simple], list[tuple[Simple, ...]]]:
        """Return the commands of a redirected statement, and stages that stand in its heredoc."""
        body = node.child_by_field_name("body")
        redirects: list[Redirect] = []
        words: list[Word] = []
        rest: list[tuple[Simple, ...]] = []
        for child in node.named_children:
            if child.type in REDIRECTS:
                redirects += self._redirect(child, words, rest)
        simples = [] if body is None else list(self._stage(body))
        if not simples:
            simples = [Simple((), (), node.start_byte, node.end_byte, self.cwd)]
        is_pipeline = body is not None and body.type == "pipeline"
        kept = simples[:-1] if is_pipeline else []
        changed = [self._changed(one, words, redirects, node) for one in simples[len(kept) :]]
        return [*kept, *changed], rest

    @staticmethod
    def _changed(one: Simple, words: list[Word], redirects: list[Redirect], node: Node) -> Simple:
        told = (*one.redirects, *redirects)
        return Simple((*one.words, *words), told, one.start, node.end_byte, one.cwd)

    def _redirect(
        self, node: Node, words: list[Word], rest: list[tuple[Simple, ...]]
    ) -> Iterator[Redirect]:
        if node.type == "heredoc_redirect":
            yield from self._heredoc(node, words, rest)
            return
        operator = next((c.type for c in node.children if not c.is_named), ">")
        named = [c for c in node.named_children if c.type != "file_descriptor"]
        for index, child in enumerate(named):
            told = self._words(child) or [Word("")]
            if index:  # what follows the target is a word of the command (`cat > x a b`)
                words += told
            else:
                yield Redirect(operator, told[0])

    def _redirection(self, node: Node) -> list[Simple]:
        """A redirection without a command: ``$(< file)``."""
        redirects = tuple(self._redirect(node, [], []))
        simple = Simple((), redirects, node.start_byte, node.end_byte, self.cwd)
        self._keep((simple,), node)
        return [simple]

    def _heredoc(
        self, node: Node, words: list[Word], rest: list[tuple[Simple, ...]]
    ) -> Iterator[Redirect]:
        for child in node.named_children:
            if child.type == "heredoc_body":
                yield Redirect("<<", Word(self._text(child)[:MAX_WORD]))
            elif child.type == "pipeline":
                rest += [self._stage(c) for c in child.named_children]
            elif child.type in REDIRECTS:
                yield from self._redirect(child, words, rest)
            elif child.type in ("heredoc_start", "heredoc_end", "file_descriptor"):
                continue
            elif node.child_by_field_name("right") == child or child.type.endswith("statement"):
                self.run(child)
            else:
                words += self._words(child)

    def _function(self, node: Node) -> list[Simple]:
        name = node.child_by_field_name("name")
        label = self._text(name) if name else ""
        before = len(self.pipelines)
        simples = self._children(node)
        own = [
            simple
            for pipeline in self.pipelines[before:]
            if len(pipeline.stages) > 1
            for stage in pipeline.stages
            for simple in stage
            if simple.words and simple.words[0].text == label
        ]
        if len(own) > 1 and label:
            self.recursive.append((node.start_byte, node.end_byte))
        return simples

    def _loop(self, node: Node) -> list[Simple]:
        variable = node.child_by_field_name("variable")
        values: list[str] = []
        for child in node.children_by_field_name("value"):
            values += [word.text for word in self._words(child)]
        if variable is not None:
            self._remember(variable, SPLIT.join(values))
        body = node.child_by_field_name("body")
        return self.run(body) if body else self._children(node)

    def _assignment(self, node: Node) -> list[Simple]:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            return []
        scripts = self.scripts
        self.scripts = []
        text = self._value(value) if value else ""
        if self.scripts:  # a word without a program: what is run to make the value
            word = Word(text, "", tuple(self.scripts))
            simple = Simple((Word("="), word), (), node.start_byte, node.end_byte, self.cwd)
            self._keep((simple,), node)
            self.made[self._text(name)] = tuple(self.scripts)
        self.scripts = scripts
        self._remember(name, text.replace(SPLIT, " "))
        return []

    def _remember(self, name: Node, value: str) -> None:
        self.complete = self.complete and len(value) <= MAX_VALUE
        self.variables[self._text(name)] = value[:MAX_VALUE]

    def _substitution(self, node: Node) -> list[Simple]:
        self._words(node)
        return []

    def _simple(self, node: Node) -> Simple:
        built_in = node.type != "command"  # `export`, `unset`: the name is no node of its own
        words = [Word(node.children[0].type)] if built_in else list[Word]()
        redirects: list[Redirect] = []
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assignment(child)
                words += [Word(self._text(child))] if built_in else []
            elif child.type in REDIRECTS:
                redirects += self._redirect(child, words, [])
            elif child.type == "command_name":
                for inner in child.named_children:
                    words += self._words(inner)
            elif child.type != "comment":
                words += self._words(child)
        simple = Simple(tuple(words), tuple(redirects), node.start_byte, node.end_byte, self.cwd)
        self._moved(simple)
        return simple

    def _moved(self, simple: Simple) -> None:
        texts = [word.text for word in simple.words]
        if texts[:1] in (["cd"], ["pushd"], ["chdir"], ["Set-Location"]):
            target = next((text for text in texts[1:] if text not in ("-P", "-L", "--")), "~")
            self.cwd = "" if HOLE in target or target == "-" else expand.joined(target, self.cwd)

    def _words(self, node: Node) -> list[Word]:
        """Return the words that a node becomes: one, or more where the shell splits it."""
        outer, self.scripts = self.scripts, []
        text = self._value(node)[:MAX_WORD]
        scripts, self.scripts = tuple(self.scripts), outer
        raw = self._text(node)
        pieces = [text]
        if node.type not in QUOTED:
            pieces = [piece for piece in text.split(SPLIT) if piece or SPLIT not in text]
            if "{" in raw and "," in raw and not any(quote in raw for quote in "'\""):
                pieces = [one for piece in pieces for one in expand.braces(piece)]
        return [Word(piece, raw, scripts) for piece in pieces]

    def _text(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte]

    def _value(self, node: Node, *, quoted: bool = False) -> str:
        kind = node.type
        if not self.budget.visit() or self.depth > MAX_DEPTH:
            self.complete = False
            return HOLE
        if kind in LITERAL:
            if not node.named_child_count:
                return expand.unquoted(self._text(node), quoted=quoted)
        elif kind == "raw_string":
            return self._text(node)[1:-1]
        elif kind == "ansi_c_string":
            return expand.ansi_c(self._text(node)[2:-1])
        elif kind == "simple_expansion":
            name = self._text(node)[1:]
            self.scripts += self.made.get(name, ())
            return self._grown(expand.variable(name, self.variables, quoted=quoted))
        elif kind == "expansion":
            self.scripts += self.made.get(self._text(node)[2:-1], ())
            return self._grown(expand.expansion(self._text(node), self.variables, quoted=quoted))
        elif kind in SCRIPTS:
            return self._script(node)
        elif kind == "arithmetic_expansion":
            return HOLE
        self.depth += 1
        text = self._joined(node, quoted=quoted or kind == "string")
        self.depth -= 1
        return text[1:-1] if kind == "string" and text[-1:] == '"' else text.removeprefix(
            '"' if kind == "string" else ""
        )  # fmt: skip

    def _grown(self, text: str) -> str:
        """Return what an expansion became, while there is room for it."""
        if self.budget.grow(len(text)):
            return text
        self.complete = False
        return HOLE

    def _joined(self, node: Node, *, quoted: bool) -> str:
        """Join the values of the children and what stands between them."""
        pieces: list[str] = []
        place = node.start_byte
        for child in node.named_children:
            between = self.source[place : child.start_byte]
            pieces += [expand.unquoted(between, quoted=quoted), self._value(child, quoted=quoted)]
            place = child.end_byte
        pieces.append(expand.unquoted(self.source[place : node.end_byte], quoted=quoted))
        return "".join(pieces)

    def _script(self, node: Node) -> str:
        """Read a substitution; return what it prints where that can be told."""
        inner = Reader(self.source, self.variables, self.budget)
        inner.depth, inner.cwd = self.depth + 1, self.cwd
        for child in node.named_children:
            inner.run(child)
        self.complete = self.complete and inner.complete
        self.recursive += inner.recursive
        script = inner.script()
        self.scripts.append(script)
        if node.type == "process_substitution":
            return HOLE
        return expand.output(script)
