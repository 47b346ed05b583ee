"""Judges a command line: parses it, follows what it runs, and tells the rules that hold for it."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from llmtrace.analyzers.actions import decode, deletes, files, flows, rules
from llmtrace.analyzers.actions.budget import Budget, Exhausted
from llmtrace.analyzers.actions.literals import MAX_LITERALS, Literal, literals
from llmtrace.analyzers.actions.parsing import statement_before
from llmtrace.analyzers.actions.script import HOLE, Pipeline, Script, Simple
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.tokens import read_tokens
from llmtrace.analyzers.actions.unwrap import Call, Nested, calls, known, unwrap
from llmtrace.analyzers.actions.urls import rules_of, urls_in
from llmtrace.analyzers.actions.values import Sighting
from llmtrace.analyzers.automata import matcher
from llmtrace.domain.findings import Severity

MAX_COMMAND: Final = 1024 * 1024
"""Longest command line that is read. Linux takes no argument above 128 KiB, other ways do."""

END: Final = 16 * 1024
"""Characters of the end of a script that are read by themselves where it is too much as a whole."""

MAX_DEPTH: Final = 6
WINDOWS_CUE: Final = matcher(
    r"(?i)powershell|pwsh|\biex\b|invoke-|\biwr\b|\birm\b|(?:remove|new|set|add|clear|stop|register|start)-"
    r"[a-z]{3}|\breg(?:\.exe)?\s+(?:add|save)|schtasks|certutil|bitsadmin|mshta|regsvr32|rundll32|vssadmin|"
    r"bcdedit|wevtutil|netsh|\bformat\s+[a-z]:|\b(?:del|erase|rd|rmdir)\s+(?:/|-r)|\$env:|%\w+%|[a-z]:\\|"
    r"new-object|\bwmic\b|\bnet1?\s+(?:user|localgroup)|\bcmd(?:\.exe)?\s+/"
)
LOADED: Final = matcher(
    r"https?://|/dev/tcp/|base64|\bnc\b|\bcurl\b|\bwget\b|LD_PRELOAD|\beval\b|alias sudo"
)
PIPE_MAKERS: Final = ("mkfifo", "mknod")
NUMBERED: Final = re.compile(r"(?i)(?:https?://)?(?:0x[0-9a-f]{6,8}|\d{8,10})(?:[:/].*)?")
EXECUTED: Final = re.compile(
    r"(?:system|popen|exec\w*|spawn\w*|check_output|check_call|call|run|getoutput|shell_exec|passthru|qx|\$|sh|bash|"
    r"do shell script|create_subprocess_shell)\Z"
)


type Span = tuple[int, int]


class Judge:
    """Judges one command line or program text. Make one for each."""

    def __init__(self, workspace: Sequence[str] = (), budget: Budget | None = None) -> None:
        self._workspace = workspace
        self._budget = budget or Budget()
        self._found: dict[tuple[str, int, int], Severity | None] = {}
        self._judged: set[object] = set()

    def command(self, text: str, *, windows: bool = False) -> list[Sighting]:
        """Return what holds for a command line, ordered by where it stands.

        Of one that is too much to read, the end is read as well as the beginning.
        """
        told = self._bounded(text, lambda kept: self._text(kept, None, 0, windows=windows))
        if len(text) <= END or all(one.rule != "limit.command" for one in told):
            return told
        at = statement_before(text, len(text) - END)
        last = Judge(self._workspace, Budget(chars=8 * END))
        for one in last._bounded(
            text[at:], lambda kept: last._text(kept, None, 0, windows=windows)
        ):
            self._found.setdefault((one.rule, one.start + at, one.end + at), one.severity)
        return self._sightings()

    def code(self, text: str) -> list[Sighting]:
        """Return what holds for a program text in a language that is no shell's."""
        return self._bounded(text, lambda kept: self._code(kept, (0, max(1, len(text))), 0))

    def _bounded(self, text: str, judge: Callable[[str], None]) -> list[Sighting]:
        try:
            judge(text[:MAX_COMMAND].replace("\x00", ""))  # a shell reads over them
        except Exhausted:
            self._limited((0, len(text)))
        if len(text) > MAX_COMMAND:
            self._limited((MAX_COMMAND, len(text)))
        return self._sightings()

    def _limited(self, span: Span) -> None:
        """Tell that something at a place was not looked at."""
        self._budget.cut = True
        self._see(["limit.command"], span)

    def _sightings(self) -> list[Sighting]:
        order = sorted(self._found.items(), key=lambda item: (item[0][1], item[0][2], item[0][0]))
        return [
            Sighting(rule, start, max(end, start + 1), severity)
            for (rule, start, end), severity in order
        ]

    def _see(self, names: Iterable[str], span: Span) -> None:
        for name in names:
            self._found.setdefault((name, *span))

    def _text(self, text: str, span: Span | None, depth: int, *, windows: bool) -> None:
        """Judge a script. Sightings are at ``span``, or where they stand if that is None."""
        self._budget.parse(len(text))
        as_windows = windows or _windows(text)
        if not windows:
            script = read_script(text, self._budget)
            self._script(script, span or (0, len(text)), span, depth)
            if script.broken:
                self._split(text, span, depth, windows=False)
            as_windows = as_windows and ("<<" not in text or script.broken)
        if as_windows:
            self._split(text, span, depth, windows=True)

    def _split(self, text: str, span: Span | None, depth: int, *, windows: bool) -> None:
        self._budget.parse(len(text))
        script = read_tokens(text, windows=windows)
        self._script(script, span or (0, len(text)), span, depth)

    def _nested(self, nested: Nested, span: Span, depth: int) -> None:
        if depth >= MAX_DEPTH:
            self._limited(span)
        elif nested.language == "code":
            self._code(nested.text[:MAX_COMMAND], span, depth + 1)
        elif nested.text.strip() and nested.text != HOLE:
            windows = nested.language == "windows"
            self._text(nested.text[:MAX_COMMAND], span, depth + 1, windows=windows)

    def _script(self, script: Script, whole: Span, span: Span | None, depth: int) -> None:
        if not script.complete:
            self._limited(whole)
        for place in script.recursive:
            self._see(["fork_bomb"], span or place)
        for pipeline in script.pipelines:
            self._pipeline(pipeline, span or (pipeline.start, pipeline.end), depth)
        self._see(flows.saved(script), whole)
        for text in flows.written(script):
            self._nested(Nested(text, "shell"), whole, depth)
        if _relays(script):
            self._see(["shell.reverse"], whole)

    def _pipeline(self, pipeline: Pipeline, span: Span, depth: int) -> None:
        if self._again(pipeline, depth):
            return
        self._see(flows.of_pipeline(pipeline), span)
        printed: bytes | None = None
        for index, stage in enumerate(pipeline.stages):
            fed = None if printed is None else decode.text_of(printed)
            for simple in stage:
                self._simple(simple, fed, span, depth)
            if index + 1 < len(pipeline.stages):
                printed = decode.through(stage, printed) if not index or printed else None

    def _again(self, pipeline: Pipeline, depth: int) -> bool:
        """Whether the same was judged already: what is repeated to be long costs nothing."""
        key = (depth, tuple(tuple(map(_alike, stage)) for stage in pipeline.stages))
        if key in self._judged:
            return True
        self._judged.add(key)
        return False

    def _simple(self, simple: Simple, fed: str | None, span: Span, depth: int) -> None:
        for word in (*simple.words, *(redirect.target for redirect in simple.redirects)):
            for inner in word.scripts if depth < MAX_DEPTH else ():
                self._script(inner, span, span, depth + 1)
        self._redirects(simple, span)
        for one in unwrap(simple):
            self._budget.step(1 if isinstance(one, Nested) else 1 + len(one.args))
            if isinstance(one, Nested):
                self._nested(one, span, depth)
            else:
                self._call(one, fed, span, depth)

    def _redirects(self, simple: Simple, span: Span) -> None:
        if not simple.redirects:
            return
        if rule := flows.connects_elsewhere(simple):
            self._see([rule], span)
        self._files(simple, list(files.redirected(simple)), span)

    def _files(self, simple: Simple, touches: list[files.Touch], span: Span) -> None:
        for name, severity in files.sightings(touches, simple.cwd):
            if name == "file.shell_profile":
                told = "persist.profile" if _loaded(simple) else "persist.profile_edit"
                self._see([told], span)
            else:
                self._found.setdefault((name, *span), severity)
        if self._workspace and files.strays(touches, self._workspace, simple.cwd):
            self._see(["workspace.outside"], span)

    def _call(self, call: Call, fed: str | None, span: Span, depth: int) -> None:
        given = call.simple.fed or fed
        piped = given.split() if given and "xargs" in call.via else []
        self._see(rules.of_call(call), span)
        self._see(deletes.of_call(call, piped), span)
        self._see(flows.of_substitutions(call), span)
        self._see(flows.of_upload(call), span)
        if flows.hidden(call):
            self._see(["encoded.hidden_name"], span)
        self._files(call.simple, list(files.touched(call)), span)
        if not known("names_only", call.name) or call.name in ("git", "source", "."):
            self._see(_of_addresses(call), span)
        if fed is not None and flows.sinks(call):
            language = "shell" if known("shells", call.name) else "code"
            self._nested(Nested(fed, "shell" if language == "shell" else "code"), span, depth)

    def _code(self, text: str, span: Span, depth: int) -> None:
        self._budget.parse(len(text))
        self._see(rules.of_code(text), span)
        self._files(Simple(()), files.of_code(text), span)
        for url, _, _ in urls_in(text):
            self._see(rules_of(url), span)
        found = list(literals(text))
        if len(found) >= MAX_LITERALS:
            self._limited(span)
        for line in _shelled(found):
            self._nested(Nested(line, "shell"), span, depth)


def _alike(simple: Simple) -> object:
    """Return what two commands share for which the same holds; a substitution is itself alone."""
    words = tuple((word.text, word.raw, tuple(map(id, word.scripts))) for word in simple.words)
    files = tuple((r.operator, r.target.text, *map(id, r.target.scripts)) for r in simple.redirects)
    return words, files, simple.cwd


def _windows(text: str) -> bool:
    """Whether a text may have commands of PowerShell or cmd.exe in it."""
    return WINDOWS_CUE.search(text.encode("utf-8", "replace")) is not None


def _of_addresses(call: Call) -> Iterator[str]:
    network = known("downloaders", call.name) or known("senders", call.name)
    for word in call.args:
        if "://" in word.text or (
            network and call.name not in ("ssh", "scp", "ping", "dig", "host")
        ):
            for text in _candidates(word.text, network=network):
                yield from rules_of(text)


def _candidates(text: str, *, network: bool) -> Iterator[str]:
    found = [url for url, _, _ in urls_in(text)]
    yield from found
    if network and not found and (flows.ADDRESS.match(text) or NUMBERED.fullmatch(text)):
        yield text


def _loaded(simple: Simple) -> bool:
    """Whether what a command writes holds a download or an encoded text."""
    text = " ".join([*(word.text for word in simple.words), simple.fed or ""])
    return LOADED.search(text.encode("utf-8", "replace")) is not None


def _relays(script: Script) -> bool:
    """Whether a named pipe joins a shell with a program that speaks to other hosts."""
    if not any(simple.words[0].text.endswith(PIPE_MAKERS) for simple in _named(script)):
        return False
    made = [call for simple in script.simples() for call in calls(simple)]
    speaks = any(
        known("connectors", call.name) or (call.name == "openssl" and " s_client " in call.line)
        for call in made
    )
    return speaks and any(known("shells", call.name) for call in made)


def _named(script: Script) -> Iterator[Simple]:
    return (simple for simple in script.simples() if simple.words)


def _shelled(strings: Sequence[Literal]) -> Iterator[str]:
    """Go through the command lines that a program text hands to a shell."""
    found = [one for one in strings if EXECUTED.search(one.call)]
    yield from (one.text for one in found if not one.array and one.text.strip())
    arrays: dict[int, list[str]] = {}
    for one in found:
        if one.array:
            arrays.setdefault(one.array, []).append(_quoted(one.text))
    yield from map(" ".join, arrays.values())


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
