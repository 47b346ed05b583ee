"""What moves through a pipeline or substitution: downloads into shells, secrets to other hosts."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from llmtrace.analyzers.actions import decode, files, rules
from llmtrace.analyzers.actions.script import HOLE, Pipeline, Script, Simple, Word
from llmtrace.analyzers.actions.unwrap import Call, calls, known, program_name, programs
from llmtrace.analyzers.actions.urls import (
    hosts,
    is_drop,
    is_installer,
    is_work_host,
    split,
    suffixes,
    to_address,
)

SENDS_STDIN: Final = re.compile(
    r" (?:-d|--data\S*|-T|--upload-file|-F|--form|--post-file|--body-file|--json)[ =]?"
    r"\S*(?:@?-|@/dev/stdin)(?: |;)"
)
SENDS_FILE: Final = re.compile(
    r"^(?:-d|--data|--data-binary|--data-raw|--data-urlencode|-T|--upload-file|-F|--form|--post-file|"
    r"--body-file|--json|-infile|-body|--data-ascii)$",
    re.IGNORECASE,
)
GLUED: Final = re.compile(
    r"^(?:-[dFT]|--(?:data\S*|form|upload-file|post-file|body-file|json)=)(.+)$"
)
WHOLE_FILE: Final = re.compile(r"^(?:-T|--upload-file|--post-file|--body-file|-(?i:infile))")
VARIABLE: Final = re.compile(r"\$\{?(\w+)")
MAX_WRITTEN: Final = 32
SAVED: Final = frozenset(
    {"-o", "-O", "--output", "--output-document", "-outfile", "-OutFile", "-d"}
)
ADDRESS: Final = re.compile(
    r"(?i)^[a-z][a-z0-9+.-]*://|^(?:[\w-]+\.)+[a-z]{2,}(?:[:/]|$)|^\d{1,3}(?:\.\d{1,3}){3}\b|^\[?[0-9a-f:]*::"
)


def addresses(call: Call) -> list[str]:
    """Return the words of a call that are addresses."""
    words = [word.text for word in call.args if ADDRESS.match(word.text)]
    return words + [w.text.partition("=")[2] for w in call.args if "=http" in w.text[:24]]


def downloads(call: Call) -> bool:
    """Whether a call fetches something from another host."""
    return known("downloaders", call.name) and bool(
        addresses(call) or any(HOLE in word.text for word in call.args)
    )


def sinks(call: Call) -> bool:
    """Whether a call runs what comes in by its standard input."""
    words = [word.text for word in call.args]
    operands = [text for text in words if not text.startswith("-") or text == "-"]
    if _of_xargs(call):
        return True
    if known("shells", call.name):
        return "-c" not in words and (
            not operands or operands[0] in ("-", "/dev/stdin") or "-s" in words
        )
    if call.name in programs().interpreters and call.name not in ("awk", "gawk", "mawk"):
        options = programs().interpreters[call.name]
        return not any(text in options for text in words) and (
            not operands or operands[0] in ("-", "/dev/stdin")
        )
    if call.name in ("source", "."):
        return operands[:1] == ["/dev/stdin"]
    if call.name in ("iex", "invoke-expression"):
        return not operands
    if call.name in ("powershell", "pwsh"):
        return "-" in words or not operands
    return call.name == "cmd" and not operands


def _of_xargs(call: Call) -> bool:
    """Whether ``xargs`` hands what it reads to a shell as its script: ``xargs -I{} sh -c {}``."""
    words = [word.text for word in call.args]
    if "xargs" not in call.via or not known("shells", call.name) or "-c" not in words:
        return False
    script = words[words.index("-c") + 1 :][:1]
    return not script or script[0] in _places(call.simple)


def _places(simple: Simple) -> set[str]:
    words = [word.text for word in simple.words]
    glued = {word[2:] for word in words if word[:2] == "-I" and len(word) > 2}
    return {"{}"} | glued | {b for a, b in pairwise(words) if a == "-I"}


def _reads_and_runs(named: Sequence[Call]) -> bool:
    """Whether a loop runs the lines that it reads: ``while read l; do eval "$l"; done``."""
    names = {word.text for call in named if call.name == "read" for word in call.operands()}
    held = {form for name in names for form in (f"${name}", f"${{{name}}}")}
    return any(
        word.raw.strip("\"'") in held
        for call in named
        if known("evals", call.name) or known("shells", call.name) or HOLE in call.name
        for word in (*call.args, *call.simple.words[:1])
    )


def _inner(words: Sequence[Word], holds: Callable[[Call], bool]) -> list[Call]:
    """Return the calls for which something holds in the substitutions of words."""
    return [
        call
        for word in words
        for script in word.scripts
        for simple in script.simples()
        for call in calls(simple)
        if holds(call)
    ]


@dataclass(slots=True)
class _Source:
    """What came out of the stages so far."""

    fetched: list[Call] = field(default_factory=list)
    decoded: bool = False
    connected: bool = False
    secret: bool = False

    def add(self, stage: Sequence[Simple]) -> None:
        """Take a stage in."""
        words = [word for simple in stage for word in simple.words if word.scripts]
        named = [call for simple in stage for call in calls(simple)]
        self.fetched += [call for call in named if downloads(call)] + _inner(words, downloads)
        self.decoded = self.decoded or any(map(decode.decodes, stage))
        self.connected = self.connected or any(known("connectors", call.name) for call in named)
        self.secret = self.secret or any(map(_reads, named)) or bool(_inner(words, _reads))


def of_pipeline(pipeline: Pipeline) -> Iterator[str]:
    """Go through the rules that hold for what flows through a pipeline."""
    if len(pipeline.stages) < 2:
        return
    source = _Source()
    for stage in pipeline.stages:
        named = [call for simple in stage for call in calls(simple)]
        if any(map(sinks, named)) or _reads_and_runs(named):
            yield from _run(source)
        if source.secret and any(map(takes_in, named)):
            yield "upload.secret"
        source.add(stage)


def _run(source: _Source) -> Iterator[str]:
    if source.fetched:
        yield _download(source.fetched)
    if source.decoded:
        yield "encoded.run"
    if source.connected:
        yield "shell.reverse"


def _download(fetched: Sequence[Call]) -> str:
    urls = [url for call in fetched for url in addresses(call)]
    return "download.installer" if urls and all(map(is_installer, urls)) else "download.run"


def of_substitutions(call: Call) -> Iterator[str]:
    """Go through the rules for what substitutions hand to a call: ``bash <(curl …)``."""
    runs = (
        known("shells", call.name)
        or known("evals", call.name)
        or call.name in programs().interpreters
        or call.name in ("source", ".", "iex", "invoke-expression", "su", "xargs", "exec")
        or HOLE in call.name
    )
    redirects = [r.target for r in call.simple.redirects]
    words = [*call.simple.words, *redirects] if runs else []
    if fetched := _inner(words, downloads):
        yield _download(fetched)
    if _inner(words, lambda inner: decode.decodes(inner.simple)):
        yield "encoded.run"
    if known("senders", call.name) and _inner(call.args, files.reads_secret):
        yield "upload.secret"


def hidden(call: Call) -> bool:
    """Whether a program's name is put together from letters and what is not known."""
    raw = call.simple.words[0].raw if call.simple.words and not call.via else ""
    letters = call.name.replace(HOLE, "")
    return HOLE in call.name and bool(
        re.fullmatch(r"\w{1,6}", letters) or re.search(r"\$\{[^}]*:\d", raw)
    )


def _reads(call: Call) -> bool:
    named = set(rules.of_call(call)) & {"credential.store", "credential.token"}
    return bool(named) or files.reads_secret(call)


def takes_in(call: Call) -> bool:
    """Whether a call sends its standard input to another host."""
    if not known("senders", call.name):
        return False
    if call.name in ("curl", "wget", "http", "https", "xh", "curlie"):
        takes = SENDS_STDIN.search(call.line) is not None or call.name in ("http", "https", "xh")
    elif call.name in ("openssl",):
        takes = " s_client " in call.line
    elif call.name in ("scp", "rsync", "dig", "nslookup", "host", "ping"):
        takes = False
    else:
        takes = True
    return takes and not _local(call)


def _local(call: Call) -> bool:
    urls = [url for text in addresses(call) if (url := split(text))]
    names = [w.text for w in call.operands()] if known("connectors", call.name) else []
    told = [url.local for url in urls] + [n in ("localhost", "127.0.0.1", "::1") for n in names[:1]]
    return bool(told) and all(told)


def of_upload(call: Call) -> Iterator[str]:
    """Go through the rules for files that a call sends."""
    if not known("senders", call.name) or _local(call):
        return
    if any(map(_gives_away, call.args)):
        yield "upload.variable"
    sent = list(_sent(call))
    if not sent:
        return
    urls = addresses(call)
    if any(files.secret_word(word, call.simple.cwd) for word in sent):
        yield "upload.secret"
    elif any(map(is_drop, urls)):
        yield "upload.drop"
    elif urls and not all(map(is_work_host, urls)):
        yield "upload.file"


def _gives_away(word: Word) -> bool:
    """Whether an address has the key of a provider in it, and is not that provider's."""
    named = {found[1] for found in VARIABLE.finditer(word.raw)}
    owners = [domains for name, domains in hosts().key_owners.items() if name in named]
    url = split(word.text) if owners and "://" in word.text else None
    if url is None:
        return False
    own = frozenset(suffixes(url.host))
    return any(own.isdisjoint(domains) for domains in owners)


def _sent(call: Call) -> Iterator[Word]:
    if call.name in ("scp", "rsync", "rclone", "gsutil", "aws", "croc", "wormhole"):
        operands = files.operands(call)
        remote = operands and re.search(r"^(?:\w[\w.-]*@)?[\w.-]+:|^\w+://", operands[-1].text)
        yield from operands[:-1] if remote or call.name in ("croc", "wormhole") else ()
        return
    if call.name in programs().sets["connectors"] or call.name in ("mail", "mailx", "sendmail"):
        yield from (r.target for r in call.simple.redirects if r.operator == "<")
        return
    previous = ""
    for word in call.args:
        glued = GLUED.match(word.text)
        if SENDS_FILE.match(previous) or glued:
            text = glued[1] if glued else word.text
            option = word.text if glued else previous
            whole = WHOLE_FILE.match(option) is not None
            if (whole or text.startswith("@") or "=@" in text) and text not in ("-", "@-"):
                yield Word(text, word.raw, word.scripts)
        previous = word.text


def saved(script: Script) -> Iterator[str]:
    """Yield once for each file that is downloaded and then run in the same script."""
    names: set[str] = set()
    for simple in script.simples():
        for call in calls(simple):
            if names and _runs(call, names):
                yield "download.then_run"
                return
            if downloads(call):
                names |= _saved(call)


def written(script: Script) -> Iterator[str]:
    """Go through the texts that a script writes to a file which it then runs."""
    texts: dict[str, str] = {}
    for simple in script.simples():
        named = calls(simple)
        for name in [name for name in texts if any(_runs(call, {name}) for call in named)]:
            yield texts.pop(name)
        targets = [one.target.text for one in simple.redirects if one.writes]
        targets += [word.text for call in named if call.name == "tee" for word in call.operands()]
        if targets and len(texts) < MAX_WRITTEN:
            text = simple.fed or _told(simple)
            texts |= {_bare(target): text for target in targets if text}


def _told(simple: Simple) -> str:
    printed = decode.through((simple,), None)
    return "" if printed is None else decode.text_of(printed)


def _saved(call: Call) -> set[str]:
    words = [word.text for word in call.args]
    names = {b for a, b in pairwise(words) if a in SAVED and not b.startswith("-")}
    names |= {r.target.text for r in call.simple.redirects if r.writes}
    names |= {word.partition("=")[2] for word in words if word.startswith("--output")}
    to_file = call.name in ("wget", "wget2", "aria2c", "axel", "scp", "certutil", "bitsadmin")
    if to_file or any(re.fullmatch(r"-\w*O\w*|--remote-name", word) for word in words):
        names |= {url.rpartition("/")[2].partition("?")[0] for url in addresses(call)}
        if to_file:
            names |= {word for word in words[-1:] if not ADDRESS.match(word)}
    return {_bare(name) for name in names if name not in ("", "-", "/dev/null")}


def _runs(call: Call, names: set[str]) -> bool:
    words = [word for word in call.simple.words if program_name(word) == call.name]
    first = words[0].text if words else call.name
    if _bare(first) in names and ("/" in first or first.endswith((".exe", ".bat", ".ps1"))):
        return True
    runner = known("shells", call.name) or call.name in programs().interpreters
    runner = runner or call.name in ("source", ".", "powershell", "start", "start-process", "open")
    operands = call.operands()[:1] if runner else []
    return any(_bare(word.text) in names for word in operands)


def _bare(path: str) -> str:
    return path.rpartition("/")[2].rpartition("\\")[2]


def connects_elsewhere(simple: Simple) -> str:
    """Return the rule for a redirection to a socket of the shell, empty if there is none."""
    for redirect in simple.redirects:
        found = re.match(r"/dev/(?:tcp|udp)/([^/]+)/", redirect.target.text)
        if found is None:
            continue
        names = {call.name for call in calls(simple)}
        if names & programs().sets["shells"] or "exec" in names:
            return "shell.reverse"
        url = split(found[1])
        local = to_address(found[1]) is None and HOLE not in found[1] and found[1] == "localhost"
        return "" if local or (url is not None and url.local) else "shell.raw_socket"
    return ""
