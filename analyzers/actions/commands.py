"""Judges a command line: parses it, follows what it runs, and tells the rules that hold for it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from llmtrace.analyzers.actions import decode, deletes, files, flows, rules
from llmtrace.analyzers.actions.literals import literals
from llmtrace.analyzers.actions.script import HOLE, Pipeline, Script, Simple
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.tokens import read_tokens
from llmtrace.analyzers.actions.unwrap import Call, Nested, known, unwrap
from llmtrace.analyzers.actions.urls import rules_of, urls_in
from llmtrace.analyzers.actions.values import Sighting
from llmtrace.domain.findings import Severity

MAX_SCRIPT: Final = 32 * 1024
"""Longest piece that is parsed at once; a longer script is cut at ends of lines."""

MAX_DEPTH: Final = 6
MAX_CALLS: Final = 5_000
WINDOWS_CUE: Final = re.compile(
    r"(?i)powershell|pwsh|\biex\b|invoke-|\biwr\b|\birm\b|(?:remove|new|set|add|clear|stop|register|start)-"
    r"[a-z]{3}|\breg(?:\.exe)?\s+(?:add|save)|schtasks|certutil|bitsadmin|mshta|regsvr32|rundll32|vssadmin|"
    r"bcdedit|wevtutil|netsh|\bformat\s+[a-z]:|\b(?:del|erase|rd|rmdir)\s+(?:/|-r)|\$env:|%\w+%|[a-z]:\\|"
    r"new-object|\bwmic\b|\bnet1?\s+(?:user|localgroup)|\bcmd(?:\.exe)?\s+/"
)
NUMBERED: Final = re.compile(r"(?i)(?:https?://)?(?:0x[0-9a-f]{6,8}|\d{8,10})(?:[:/].*)?")
EXECUTED: Final = re.compile(
    r"(?:system|popen|exec\w*|spawn\w*|check_output|check_call|call|run|getoutput|shell_exec|passthru|qx|\$|sh|bash|"
    r"do shell script|create_subprocess_shell)\Z"
)


class Judge:
    """Judges one command line. Make one for each: it counts what it has done."""

    def __init__(self, workspace: Sequence[str] = ()) -> None:
        self._workspace = workspace
        self._calls = 0
        self._found: dict[tuple[str, int, int], Severity | None] = {}

    def command(self, text: str, *, windows: bool = False) -> list[Sighting]:
        """Return what holds for a command line, ordered by where it stands."""
        for start, piece in _pieces(text):
            self._piece(piece, start, windows=windows)
        return self._sightings()

    def code(self, text: str) -> list[Sighting]:
        """Return what holds for a program text in a language that is no shell's."""
        self._code(text[: 4 * MAX_SCRIPT], (0, len(text)), 0)
        return self._sightings()

    def _sightings(self) -> list[Sighting]:
        order = sorted(self._found.items(), key=lambda item: (item[0][1], item[0][2], item[0][0]))
        return [Sighting(rule, start, end, severity) for (rule, start, end), severity in order]

    def _see(self, names: Iterable[str], span: tuple[int, int]) -> None:
        for name in names:
            self._found.setdefault((name, *span))

    def _piece(self, text: str, offset: int, *, windows: bool) -> None:
        cue = windows or WINDOWS_CUE.search(text) is not None
        if not windows:
            script = read_script(text)
            spans = _Spans(text, offset)
            self._script(script, spans, None, 0)
            if script.broken:
                self._script(read_tokens(text), _Spans(text, offset, chars=True), None, 0)
            cue = cue and ("<<" not in text or script.broken)
        if cue:
            script = read_tokens(text, windows=True)
            self._script(script, _Spans(text, offset, chars=True), None, 0)

    def _nested(self, nested: Nested, span: tuple[int, int], depth: int) -> None:
        if depth >= MAX_DEPTH:
            self._see(["limit.command"], span)
        elif nested.language == "code":
            self._code(nested.text[:MAX_SCRIPT], span, depth + 1)
        elif nested.text.strip() and nested.text != HOLE:
            text = nested.text[:MAX_SCRIPT]
            if nested.language == "shell":
                script = read_script(text)
                self._script(script, None, span, depth + 1)
                if script.broken:
                    self._script(read_tokens(text), None, span, depth + 1)
            if nested.language == "windows" or WINDOWS_CUE.search(text):
                self._script(read_tokens(text, windows=True), None, span, depth + 1)

    def _script(
        self, script: Script, spans: "_Spans | None", span: tuple[int, int] | None, depth: int
    ) -> None:
        whole = span or (spans.whole if spans else (0, 1))
        if not script.complete:
            self._see(["limit.command"], whole)
        for start, end in script.recursive:
            self._see(["fork_bomb"], spans.of(start, end) if spans else whole)
        for pipeline in script.pipelines:
            place = spans.of(pipeline.start, pipeline.end) if spans else whole
            self._pipeline(pipeline, place, depth)
        self._see(flows.saved(script), whole)
        if _relays(script):
            self._see(["shell.reverse"], whole)

    def _pipeline(self, pipeline: Pipeline, span: tuple[int, int], depth: int) -> None:
        self._see(flows.of_pipeline(pipeline), span)
        previous: str | None = None
        for index, stage in enumerate(pipeline.stages):
            for simple in stage:
                self._simple(simple, previous, span, depth)
            if index + 1 < len(pipeline.stages):
                previous = decode.output(Pipeline(pipeline.stages[: index + 1]))

    def _simple(self, simple: Simple, fed: str | None, span: tuple[int, int], depth: int) -> None:
        for word in (*simple.words, *(redirect.target for redirect in simple.redirects)):
            for inner in word.scripts if depth < MAX_DEPTH else ():
                self._script(inner, None, span, depth + 1)
        self._redirects(simple, span)
        for one in unwrap(simple):
            self._calls += 1
            if self._calls > MAX_CALLS:
                self._see(["limit.command"], span)
                return
            if isinstance(one, Nested):
                self._nested(one, span, depth)
            else:
                self._call(one, fed, span, depth)

    def _redirects(self, simple: Simple, span: tuple[int, int]) -> None:
        if not simple.redirects:
            return
        if rule := flows.connects_elsewhere(simple):
            self._see([rule], span)
        self._files(simple, list(files.redirected(simple)), span)

    def _files(self, simple: Simple, touches: list[files.Touch], span: tuple[int, int]) -> None:
        for name, severity in files.sightings(touches, simple.cwd):
            if name == "file.shell_profile":
                told = "persist.profile" if _loaded(simple) else "persist.profile_edit"
                self._see([told], span)
            else:
                self._found.setdefault((name, *span), severity)
        if self._workspace and files.strays(touches, self._workspace, simple.cwd):
            self._see(["workspace.outside"], span)

    def _call(self, call: Call, fed: str | None, span: tuple[int, int], depth: int) -> None:
        piped = fed.split() if fed and "xargs" in call.via else []
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

    def _code(self, text: str, span: tuple[int, int], depth: int) -> None:
        self._see(rules.of_code(text), span)
        self._files(Simple(()), files.of_code(text), span)
        for url, _, _ in urls_in(text):
            self._see(rules_of(url), span)
        for line in _shelled(text):
            self._nested(Nested(line, "shell"), span, depth)


class _Spans:
    """Turns offsets in a parsed piece (bytes of UTF-8, or code points) into those of the text."""

    def __init__(self, text: str, offset: int, *, chars: bool = False) -> None:
        self._source = None if chars or text.isascii() else text.encode("utf-8", "replace")
        self._offset = offset
        self.whole = (offset, offset + max(1, len(text)))

    def of(self, start: int, end: int) -> tuple[int, int]:
        if self._source is not None:
            start = len(self._source[:start].decode("utf-8", "replace"))
            end = len(self._source[:end].decode("utf-8", "replace"))
        return self._offset + start, self._offset + max(end, start + 1)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Cut a long script at ends of lines."""
    start = 0
    while start < len(text):
        end = start + MAX_SCRIPT
        if end < len(text):
            line = text.rfind("\n", start, end)
            end = line + 1 if line > start else end
        yield start, text[start:end]
        start = end


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
    return bool(
        re.search(
            r"https?://|/dev/tcp/|base64|\bnc\b|\bcurl\b|\bwget\b|LD_PRELOAD|\beval\b|alias sudo",
            text,
        )
    )


def _relays(script: Script) -> bool:
    """Whether a named pipe joins a shell with a program that speaks to other hosts."""
    names = {call.name for simple in script.simples() for call in flows.calls(simple)}
    if not names & {"mkfifo", "mknod"}:
        return False
    speakers = {"nc", "ncat", "netcat", "telnet", "socat"} | (
        {"openssl"}
        if any(" s_client " in c.line for s in script.simples() for c in flows.calls(s))
        else set()
    )
    shells = {name for name in names if known("shells", name)}
    return bool(names & speakers and shells)


def _shelled(code: str) -> Iterator[str]:
    """Go through the command lines that a program text hands to a shell."""
    found = [one for one in literals(code) if EXECUTED.search(one.call)]
    yield from (one.text for one in found if not one.array and one.text.strip())
    arrays = sorted({one.array for one in found if one.array})
    for array in arrays[:64]:
        yield " ".join(_quoted(one.text) for one in found if one.array == array)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
