"""Renders docs/detection.md: every kind of finding, its rules, and which tests cover which risk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from llmtrace.analyzers.kinds import Kind, kinds
from llmtrace.analyzers.patterns import Rule, load_packs, shipped_packs
from llmtrace.domain.parts import Role

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACTIONS = ROOT / "analyzers" / "actions"
WIDEST = 100
HEAD = """\
# What is found

Every kind of finding, what it is worth, and the rules that find it. What becomes of a finding is
the policy's to say ([configuration.md](configuration.md), `policy`).

<!-- Rendered from analyzers/kinds.yaml, the packs and scripts/documents/detection.yaml by
scripts/docs; do not edit. -->

## How to read a finding

- **Severity** says how bad it is if it is real, **confidence** how likely it is real. Where two
  figures stand, the second holds for text of untrusted origin: tool results, tool descriptions.
- **Whose words** matter. Instructions to the model are looked for in what users say, in tool
  results and in tool descriptions. What the agent itself says or runs is no attack, and system
  text is its owner's. Secrets and personal data are looked for everywhere.
- **An order is not its quotation.** Words that begin a sentence are meant, also behind the number
  of a line, the sign of a comment or a diff. The same words within quotes, code fences or the hits
  of a search are most often spoken about: `override.mention` (medium) remains of them. Within a
  sentence, or a cell of a table, they are likely meant: `override.within` (medium).
- **Agreement never makes milder.** What a rule and the model see in the same place is as severe as
  the more severe of them says, and both are surer. Where `override.mention` saw words that are
  spoken about, the model alone makes nothing near them more severe.
- **All views of a text** are searched: as it reads once invisible characters, accents, look-alike
  letters and full-width forms are folded, and what is spelled in leet, spaced, reversed, upside
  down, or encoded (base64, hex, ROT13, URL and HTML escapes, those of JSON and source code,
  Unicode tags, variation selectors), without a terminal's colours. Behind `\\n` and its like a
  value begins as it does behind a space, in streams too.
  A rule that hit in such a view has its name behind a `~`: `override.ignore_previous~base64`.
- **The model** reads Latin, Cyrillic and Han letters. What is written in others is for the rules,
  and the trace says so (`detector_script`); [models/llmtrace-small.md](models/llmtrace-small.md).
- **Persuasion** (pressure, authority, secrecy) is low and never enough alone.

A rule is switched off by its name in `security_analysis.disabled_rules`. Own packs have the same
form as those in `analyzers/rules/` and are named in `security_analysis.packs`; each rule brings
texts that it must and must not match, which are run when the pack is loaded.

## What is judged together

Each text of a request is judged by itself, with its role. Three things show only beside others, and
are hits in each text that they touch, with an ending on the detector's name:

- `~named`: a text in structured results or arguments is a value for the name of its member
  (`{"db_password": "…"}`);
- `~seam`: what is cut over the text blocks of one tool's result;
- `~again`: a value that is acted on in one text, and that stands elsewhere in the request without
  what told it: an agent repeats a password, and not that it is one. Words that could be any words
  (`sunshine`), and values shorter than eight characters, are left where they are alone.

A history that a client shortens by itself loses what told its values. What the provider signs
(reasoning, the results of Anthropic's own search) is never changed, and told as `flag`.

## Tools that change

`tool_changed` compares each tool of a request, its name and the whole of its definition, with what
was last let through under that name to the same tenant, agent and session in the same dialect (to
the same tenant and agent, where a client tells no session). A call that is blocked changes nothing
that is remembered: a tool that was refused for its change is refused until it is what it was. One
that is only flagged is told once, and is the known one from then on.

What a tool was first is believed, and so is a change between two sessions: clients describe tools
of one name differently from project to project. Agents without sessions that offer different tools
under one name need names of their own ([identity.md](identity.md)).

All workers of a gateway share what they remember, also with one that was started again after a
crash: in `limits.sqlite` beside the traces, as keyed hashes of sessions and names, and SHA-256 of
definitions; at least the last 100,000 tools. In memory each has the last 4,096 sessions with 1,024
tools each, and reads the file only for what it does not know, or knows as another. So a change
shows whichever worker takes the call; two first descriptions in the same moment in two workers are
both let through, and the one that came second shows at its next call. While the file cannot be
used each worker compares by itself; its log and the counter `shared_tools{unavailable}` of
`GET /health` say so. Gateways on several hosts share nothing of this. With
`storage.profile: memory` the one worker remembers in memory alone.

What is remembered ends with the gateway, and with a reload (SIGHUP), which replaces the workers. A
changed tool that you have looked at is accepted

- by a reload or a restart: the next description of every tool is the known one then;
- in a new session of its client;
- by a row of `policy.rules` with `kinds: [tool_changed]`, `verdict: flag` and its `agents`, as long
  as the row stands: for tools that change all the time.
"""


def render() -> str:
    """Return the document."""
    more = yaml.safe_load((HERE / "detection.yaml").read_text(encoding="utf-8"))
    rules = load_packs(shipped_packs())
    return "\n".join(
        [
            HEAD,
            *_kinds(rules, more["examples"]),
            *_risks(more["risks"]),
            *_rules(rules),
            *_counted(more["counted"]),
            *_actions(),
            *_sending(),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _kinds(rules: Sequence[Rule], shown: Mapping[str, str]) -> Iterator[str]:
    yield "## Kinds\n"
    rows = (
        (f"`{k.name}`", k.title, str(k.severity), _owasp(k), k.about, _example_of(k, rules, shown))
        for k in kinds().values()
    )
    yield from _table(("kind", "is called", "severity", "OWASP", "what it is", "example"), rows)


def _owasp(kind: Kind) -> str:
    return ", ".join(risk.removesuffix(":2025") for risk in kind.owasp)


def _example_of(kind: Kind, rules: Sequence[Rule], shown: Mapping[str, str]) -> str:
    if kind.name in shown:
        return shown[kind.name]
    examples = [rule.examples.match[0] for rule in rules if rule.kind == kind.name]
    if not examples:
        raise LookupError(f"kind {kind.name!r} has no example; add one to detection.yaml")
    return _code(examples[0])


def _code(text: str) -> str:
    """Return a text as code in a table's cell: one line, short, nothing that ends the cell."""
    line = text.replace("\n", "⏎")
    cut = line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"
    fence, pad = ("``", " ") if "`" in cut else ("`", "")
    return f"{fence}{pad}{cut}{pad}{fence}".replace("|", "\\|")


def _risks(risks: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    yield "## OWASP Top 10 for LLM Applications (2025)\n"
    rows = []
    for risk, (title, tests, *note) in risks.items():
        named = [f"`{k.name}`" for k in kinds().values() if f"{risk}:2025" in k.owasp]
        if missing := [test for test in tests if not (ROOT / test).exists()]:
            raise LookupError(f"detection.yaml: {risk} names {missing[0]}, which is not there")
        covered = "<br>".join(f"`{test}`" for test in tests)
        rows.append((f"{risk} {title}", ", ".join(named) or note[0], covered or "none"))
    yield from _table(("risk", "kinds", "tests"), rows)


def _rules(rules: Sequence[Rule]) -> Iterator[str]:
    yield "## Rules\n"
    for family, members in groupby(rules, key=lambda rule: rule.family):
        yield f"### {family}\n"
        rows = (
            (f"`{r.name}`", f"`{r.kind}`", str(r.severity), _confidence(r), _roles(r), _shown(r))
            for r in members
        )
        yield from _table(("rule", "kind", "severity", "confidence", "in", "example"), rows)


def _confidence(rule: Rule) -> str:
    figures = (rule.confidence, rule.untrusted_confidence, rule.context_confidence)
    return " / ".join(f"{figure:g}" for figure in figures if figure is not None)


def _roles(rule: Rule) -> str:
    if len(rule.directions) == 1:
        return f"{next(iter(rule.directions))}s"
    if rule.roles == frozenset(Role):
        return "all"
    return ", ".join(role.replace("_", " ") for role in Role if role in rule.roles)


def _shown(rule: Rule) -> str:
    """Return an example, but none of secrets: scanners of code hosts would trip over it."""
    return "" if rule.kind.startswith("secret.") else _code(rule.examples.match[0])


def _counted(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "### Without patterns\n"
    named = ((f"`{name}`", f"`{kind}`", about) for name, kind, about in rows)
    yield from _table(("detector", "kind", "what it sees"), named)


def _actions() -> Iterator[str]:
    yield "### In tool calls\n"
    rows = []
    for path in sorted(ACTIONS.glob("*.yaml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        for row in found.get("rules", []) if isinstance(found, dict) else []:
            severity = row.get("severity") or str(kinds()[row["kind"]].severity)
            rows.append((f"`actions.{row['id']}`", f"`{row['kind']}`", severity, row["about"]))
    yield from _table(("detector", "kind", "severity", "what it sees"), rows)


SENDING = """\
## Where a hidden value does not come back

A value that was hidden in a request comes back wherever the answer has its placeholder, except
where it would be carried out again. There the placeholder stays, and is no error:

- in an address of whatever scheme, those of databases apart, and in one without (`//`, `www.`); in
  what is shown, also in the destination of a link or image, in `src`, `href` and the like, and in
  `url(…)`. What is written to a file is kept back from web addresses alone;
- in all of a tool call that fetches a page, runs a command or program that sends, or is a tool
  that sends by its name. A list of words is read as the command that it is.

Programs and tools stand in `analyzers/actions/sending.yaml` and `commands.yaml`. In the names of
tools, case and separators do not count, and a word or some words in a row are enough:
"""


def _sending() -> Iterator[str]:
    yield SENDING
    tools = yaml.safe_load((ACTIONS / "sending.yaml").read_text(encoding="utf-8"))["tools"]
    yield ", ".join(f"`{name}`" for name in sorted(tools)) + "."
