"""Wires what is looked for and what is done about it, as a configuration says."""

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from llmtrace.analyzers.actions import ActionAnalyzer
from llmtrace.analyzers.base import StreamAnalyzer
from llmtrace.analyzers.cache import CachedAnalyzer
from llmtrace.analyzers.canaries import CanaryAnalyzer
from llmtrace.analyzers.combined import CombinedAnalyzer
from llmtrace.analyzers.flooding import DETECTORS as FLOODING
from llmtrace.analyzers.flooding import FloodingAnalyzer
from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.patterns import (
    HIDDEN,
    HURRIED,
    BadPack,
    Bounds,
    PatternAnalyzer,
    Rule,
    load_packs,
    shipped_packs,
)
from llmtrace.config import Config
from llmtrace.policy.table import BadPolicy, PolicyTable, compile_policy
from llmtrace.providers.detect import UNKNOWN_PROVIDER
from llmtrace.providers.hosts import default_hosts


class BadDetection(ValueError):
    """A configuration cannot be used; names its key, the file and rule, and what to do."""


def build_analyzer(
    config: Config, *, cached: bool = True, bounds: Bounds = HURRIED
) -> StreamAnalyzer:
    """Return everything that looks into a text, as one.

    Args:
        config: Its ``security_analysis`` says which packs, rules and canaries.
        cached: Whether texts that come again are remembered, as ``cache_entries`` says.
        bounds: How much is done for one text.

    Raises:
        BadDetection: A pack, a rule or a canary cannot be used.
    """
    analysis = config.security_analysis
    found = _all_rules(config)
    off = _disabled(config, found)
    analyzers: list[StreamAnalyzer] = [
        PatternAnalyzer(
            [rule for rule in found if rule.name not in off], without=off, bounds=bounds
        ),
        FloodingAnalyzer(without=off),
    ]
    if analysis.canaries:
        try:
            analyzers.append(CanaryAnalyzer(one.get_secret_value() for one in analysis.canaries))
        except ValueError as error:
            raise BadDetection(f"security_analysis.canaries: {error}") from error
    combined = CombinedAnalyzer(analyzers)
    if not cached or not analysis.cache_entries:
        return combined
    return CachedAnalyzer(combined, max_entries=analysis.cache_entries)


def rules(config: Config) -> Sequence[Rule]:
    """Return the rules of all packs but for those that are switched off.

    Raises:
        BadDetection: A pack cannot be used, or a rule that is switched off does not exist.
    """
    found = _all_rules(config)
    off = _disabled(config, found)
    return [rule for rule in found if rule.name not in off]


def _all_rules(config: Config) -> Sequence[Rule]:
    try:
        return load_packs([*shipped_packs(), *config.security_analysis.packs])
    except BadPack as error:
        raise BadDetection(f"security_analysis.packs: {error}") from error


def _disabled(config: Config, found: Iterable[Rule]) -> frozenset[str]:
    """Return what is switched off: rules, and detectors that have none."""
    names = [*(rule.name for rule in found), *FLOODING, *HIDDEN]
    return frozenset(_named(config.security_analysis.disabled_rules, names))


def _named(globs: Iterable[str], names: Sequence[str]) -> Iterator[str]:
    for glob in globs:
        matching = fnmatch.filter(names, glob)
        if not matching:
            raise BadDetection(
                f"security_analysis.disabled_rules: {glob!r} is no rule; docs/detection.md has all"
            )
        yield from matching


def build_actions(config: Config) -> ActionAnalyzer:
    """Return what looks into tool calls for what they do."""
    analysis = config.security_analysis
    return ActionAnalyzer(
        allowed_tools=analysis.allowed_tools,
        denied_tools=analysis.denied_tools,
        workspace=[str(path) for path in analysis.workspace],
    )


def build_policy(config: Config) -> PolicyTable:
    """Return the table that decides about findings.

    Raises:
        BadDetection: It speaks of something that does not exist.
    """
    _require_providers(config)
    try:
        return compile_policy(config.policy, config.pii, kinds())
    except BadPolicy as error:
        raise BadDetection(str(error)) from error


def _require_providers(config: Config) -> None:
    """Refuse a row about a provider that no call has: it would never fit."""
    hosts = default_hosts()
    own = map(hosts.resolve_provider, config.intercept.hosts.values())
    known = sorted({*hosts.providers(), UNKNOWN_PROVIDER, *filter(None, own)})
    for index, rule in enumerate(config.policy.rules):
        for glob in rule.providers:
            if not fnmatch.filter(known, glob):
                # A call has the provider's own name, also where an alias was written.
                meant = hosts.resolve_provider(glob) or glob.lower()
                raise BadDetection(
                    f"policy.rules[{index}].providers: {glob!r} is no provider; "
                    + _expected(meant, known)
                )


def _expected(meant: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(meant, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    expected = "expected one such as 'anthropic', or one that intercept.hosts names; * is any part"
    return f"{hint}{expected}"
