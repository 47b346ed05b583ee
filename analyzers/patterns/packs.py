"""Reads packs of rules from YAML and says exactly what is wrong with one that cannot be used."""

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import regex
import yaml

from llmtrace.analyzers.automata import BadPattern, matcher
from llmtrace.analyzers.base import Direction
from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.normalize import fold_pattern
from llmtrace.analyzers.patterns.examples import broken_example
from llmtrace.analyzers.patterns.holds import BLOCK, CLASSES, MAX_BLOCK
from llmtrace.analyzers.patterns.rules import Examples, Rule
from llmtrace.analyzers.validators import VALIDATORS
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

MAX_BYTES: Final = 4 << 20
MAX_RULES: Final = 5_000
EXAMPLES_SECONDS: Final = 30.0
MAX_EXAMPLE: Final = 65_536
"""Characters of all examples of one rule."""
SHIPPED: Final = ("rules", "pii", "secrets")
MAX_PATTERN: Final = 32_768
"""Characters of one pattern once its fragments are in place."""
_PACK_KEYS: Final = ("family", "version", "fragments", "rules")
_FRAGMENT: Final = re.compile(r"%\{(\w+)\}")
_KEYS: Final = (
    *("id", "kind", "severity", "confidence", "pattern", "anchor", "confirm", "view", "roles"),
    *("directions", "untrusted_confidence", "validator", "context", "context_required"),
    *("context_confidence", "tests_values", "value", "hold", "max_length", "begin", "end"),
    "examples",
)
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadPack(ValueError):
    """A pack cannot be used; says which file and rule, why, and what to do."""


def shipped_packs() -> tuple[Traversable, ...]:
    """Return the packs that come with the package."""
    root = files("llmtrace.analyzers")
    folders = (root / name for name in SHIPPED)
    packs = (pack for folder in folders if folder.is_dir() for pack in folder.iterdir())
    return tuple(sorted((p for p in packs if p.name.endswith(".yaml")), key=str))


def load_packs(
    paths: Iterable[Path | Traversable], *, compile_each: bool | None = None
) -> tuple[Rule, ...]:
    """Read the rules of packs, in their order.

    With ``compile_each`` each pattern is compiled by itself, so that an error names its rule;
    that takes most of the time, and its examples are run, within ``EXAMPLES_SECONDS`` of processor
    time for all packs. By default the package's own packs are taken on trust, as its tests do both.

    Raises:
        BadPack: A file cannot be read, or a rule in it cannot be used.
    """
    own = frozenset(map(str, shipped_packs()))
    rules: dict[str, Rule] = {}
    ends = time.thread_time() + EXAMPLES_SECONDS
    for path in paths:
        compiled = str(path) not in own if compile_each is None else compile_each
        for rule in read_pack(_read(path), str(path), compile_each=compiled):
            if other := rules.get(rule.name):
                raise BadPack(
                    f"{path}: rule {rule.name!r} stands in {other.source} already; "
                    "give one of the two another id or family"
                )
            rules[rule.name] = rule
            if compiled:
                _run_examples(rule, ends)
    if len(rules) > MAX_RULES:
        raise BadPack(f"{len(rules)} rules in all packs; at most {MAX_RULES} can be used")
    return tuple(rules.values())


def _run_examples(rule: Rule, ends: float) -> None:
    where = f"{rule.source}: rule {rule.id!r}"
    if time.thread_time() > ends:
        raise BadPack(
            f"{where}: the examples of all rules take more than {EXAMPLES_SECONDS:g} s to run; "
            "give fewer or shorter ones"
        )
    if broken := broken_example(rule):
        raise BadPack(f"{where}: {broken}; correct the pattern or the example")


def _read(path: Path | Traversable) -> str:
    try:
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise BadPack(f"{path}: {len(data)} bytes; a pack has at most {MAX_BYTES}")
        return data.decode()
    except OSError as error:
        raise BadPack(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise BadPack(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from error


def read_pack(text: str, source: str, *, compile_each: bool = True) -> Iterator[Rule]:
    """Read the rules of one pack. ``source`` names it in errors. Raises: BadPack."""
    try:
        pack = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "a value cannot be read"
        where = f" in line {mark.line + 1} ({problem})" if mark else ""
        raise BadPack(f"{source}: this is not YAML{where}; correct the file") from error
    if not isinstance(pack, dict) or not isinstance(pack.get("rules"), list):
        raise BadPack(f"{source}: expected the keys family, version and rules (a list)")
    _known(pack, _PACK_KEYS, source)
    family, version = str(pack.get("family") or ""), str(pack.get("version") or "")
    if not family or not version:
        raise BadPack(f"{source}: family and version are missing or empty; add them")
    fragments = _fragments(pack.get("fragments", {}), source)
    seal = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    seen: set[str] = set()
    for number, row in enumerate(pack["rules"], 1):
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise BadPack(f"{source}: rule number {number} has no id; give it one")
        if row["id"] in seen:
            raise BadPack(f"{source}: rule {row['id']!r} stands twice; rename or remove one")
        seen.add(row["id"])
        yield _Row(source, row, fragments, compile_each).rule(family, f"{version}.{seal}")


def _fragments(rows: object, source: str) -> Mapping[str, str]:
    """Return the pieces that patterns are made of; each may use those before it."""
    if not isinstance(rows, dict) or not all(isinstance(v, str) for v in rows.values()):
        raise BadPack(f"{source}: fragments are no mapping of names to texts; correct them")
    done: dict[str, str] = {}
    for name, piece in rows.items():
        done[str(name)] = _filled(piece, done, f"{source}: fragment {str(name)!r}")
    return done


def _filled(pattern: str, fragments: Mapping[str, str], where: str) -> str:
    """Put fragments where a pattern names them: ``%{name}``."""

    def piece(found: re.Match[str]) -> str:
        if found[1] not in fragments:
            known = ", ".join(fragments) or "none"
            raise BadPack(f"{where}: no fragment {found[1]!r} before it; known are {known}")
        return fragments[found[1]]

    filled = _FRAGMENT.sub(piece, pattern)
    if len(filled) > MAX_PATTERN:
        raise BadPack(f"{where}: {len(filled)} characters; a pattern has at most {MAX_PATTERN}")
    return filled


def _known(row: Mapping[str, object], keys: Iterable[str], where: str) -> None:
    for key in row:
        if key not in (known := tuple(keys)):
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise BadPack(f"{where}: unknown key {str(key)!r}; {hint}")


class _Row:
    """One rule as written, with what its errors must say."""

    def __init__(
        self, source: str, row: Mapping[str, Any], fragments: Mapping[str, str], compile_each: bool
    ) -> None:
        self._row = row
        self._fragments = fragments
        self._source = source
        self._compile = compile_each
        self._where = f"{source}: rule {row['id']!r}"

    def rule(self, family: str, version: str) -> Rule:
        """Check it all and return the rule."""
        _known(self._row, _KEYS, self._where)
        kind = kinds()[self._choice("kind", kinds())]
        view = self._choice("view", ("canonical", "original"), "canonical")
        pattern = self._pattern("pattern", view)
        if not pattern:
            raise self._bad("pattern is missing", "add one in RE2's syntax")
        rule = Rule(
            family=family,
            id=self._row["id"],
            source=self._source,
            kind=kind.name,
            severity=Severity(self._choice("severity", list(Severity), kind.severity)),
            confidence=self._share("confidence", None),
            pattern=pattern,
            anchor=self._pattern("anchor", view),
            confirm=self._confirm(view),
            view="original" if view == "original" else "canonical",
            roles=frozenset(Role(name) for name in self._names("roles", Role)),
            directions=frozenset(Direction(n) for n in self._names("directions", Direction)),
            untrusted_confidence=self._optional_share("untrusted_confidence"),
            validator=self._validator(),
            context=self._texts("context"),
            context_required=self._flag("context_required"),
            context_confidence=self._optional_share("context_confidence"),
            tests_values=frozenset(self._texts("tests_values")),
            value=self._flag("value"),
            version=version,
            examples=self._examples(),
            **self._hold(),
        )
        if rule.context_required and not rule.context:
            raise self._bad("context_required without context", "add the words or drop the key")
        return rule

    def _bad(self, reason: str, remedy: str) -> BadPack:
        return BadPack(f"{self._where}: {reason}; {remedy}")

    def _choice(self, key: str, known: Iterable[str], default: str | None = None) -> str:
        value = self._row.get(key, default)
        names = [str(name) for name in known]
        if value is None:
            raise self._bad(f"{key} is missing", f"add one of {', '.join(names)}")
        if value not in names:
            near = get_close_matches(str(value), names, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
            raise self._bad(f"unknown {key} {str(value)!r}", remedy)
        return str(value)

    def _names(self, key: str, known: Iterable[str]) -> tuple[str, ...]:
        values = self._texts(key)
        names = [str(name) for name in known]
        for value in values:
            if value not in names:
                near = get_close_matches(value, names, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
                raise self._bad(f"unknown {key} {value!r}", remedy)
        return values or tuple(names)

    def _texts(self, key: str) -> tuple[str, ...]:
        values = self._row.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise self._bad(f"{key} is no list of texts", "write a list of quoted texts")
        return tuple(values)

    def _flag(self, key: str) -> bool:
        value = self._row.get(key, False)
        if not isinstance(value, bool):
            raise self._bad(f"{key} is {value!r}", "write true or false")
        return value

    def _share(self, key: str, default: float | None) -> float:
        value = self._row.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self._bad(f"{key} is {value!r}", "write a number from 0 to 1")
        return float(value)

    def _optional_share(self, key: str) -> float | None:
        return self._share(key, None) if key in self._row else None

    def _validator(self) -> Any:
        if "validator" not in self._row:
            return None
        return VALIDATORS[self._choice("validator", VALIDATORS)]

    def _pattern(self, key: str, view: str) -> str:
        pattern = self._row.get(key, "")
        if not isinstance(pattern, str):
            raise self._bad(f"{key} is no text", "quote it")
        pattern = _filled(pattern, self._fragments, f"{self._where}: {key}")
        folded = fold_pattern(pattern) if view == "canonical" else pattern
        if folded and self._compile:
            try:
                matcher(folded)
            except BadPattern as error:
                raise self._bad(
                    f"{key} is not for RE2 ({error}), so it could run away",
                    "write it without lookarounds and back references, and put those "
                    "into 'confirm'",
                ) from error
        return folded

    def _confirm(self, view: str) -> str:
        pattern = self._row.get("confirm", "")
        if not isinstance(pattern, str):
            raise self._bad("confirm is no text", "quote it")
        pattern = _filled(pattern, self._fragments, f"{self._where}: confirm")
        folded = fold_pattern(pattern) if view == "canonical" else pattern
        try:
            if self._compile:
                regex.compile(folded)
        except regex.error as error:
            raise self._bad(f"confirm is no pattern ({error})", "correct it") from error
        return folded

    def _hold(self) -> dict[str, Any]:
        keys = ("max_length", "begin", "end")
        if "hold" not in self._row:
            if key := next((key for key in keys if key in self._row), None):
                raise self._bad(f"{key} without hold", "add hold or drop the key")
            return {}
        name = self._choice("hold", (*CLASSES, BLOCK))
        length = self._row.get("max_length")
        if isinstance(length, bool) or not isinstance(length, int) or not 0 < length <= MAX_BLOCK:
            raise self._bad(
                f"max_length is {length!r}", f"write the longest match, 1 to {MAX_BLOCK}"
            )
        begin, end = str(self._row.get("begin", "")), str(self._row.get("end", ""))
        if (name == BLOCK) != bool(begin and end):
            raise self._bad(
                "begin and end do not go with hold", "give both with hold: block, else none"
            )
        return {"hold": name, "max_length": length, "begin": begin, "end": end}

    def _examples(self) -> Examples:
        rows = self._row.get("examples")
        if not isinstance(rows, dict) or not rows.get("match"):
            raise self._bad("examples are missing", "add examples.match, at least one text")
        _known(rows, ("match", "no_match"), f"{self._where}: examples")
        for key, texts in rows.items():
            if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
                raise self._bad(f"examples.{key} is no list of texts", "write quoted texts")
        size = sum(len(text) for texts in rows.values() for text in texts)
        if size > MAX_EXAMPLE:
            raise self._bad(f"examples have {size} characters", f"give at most {MAX_EXAMPLE}")
        return Examples(match=tuple(rows["match"]), no_match=tuple(rows.get("no_match", ())))
