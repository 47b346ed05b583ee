"""``llmtrace scan``: look for attacks, secrets and personal data in texts, without a gateway."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import click

from llmtrace.analyzers.patterns import PATIENT
from llmtrace.app.detection import BadDetection, build_actions, build_analyzer, build_policy
from llmtrace.app.models import with_model
from llmtrace.cli.common import BAD_CONFIG, config_option, read_config
from llmtrace.cli.filters import OneOf
from llmtrace.cli.scanmeter import metered
from llmtrace.cli.scanning import Scanner
from llmtrace.cli.scantexts import FORMATS, Unreadable, entries
from llmtrace.cli.scanwriters import Lines, Redacted, Rows, Sarif, Total, Writer
from llmtrace.config import Config
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

FOUND: Final = 1
INCOMPLETE: Final = 2
STDIN: Final = "-"


@click.command(
    epilog="""\b
Examples:
    llmtrace scan prompt.txt notes.md
    llmtrace scan rows.jsonl --json --role tool_result | jq .injection
    git diff | llmtrace scan - --fail-on high
    llmtrace scan request.json --format anthropic --redact > clean.json
    llmtrace scan $(git ls-files '*.md') --sarif > llmtrace.sarif
    gunzip -c rows.jsonl.gz | llmtrace scan - --format jsonl

\b
A text is UTF-8, or UTF-16 or UTF-32 that begins with its mark, or UTF-16 in Latin
letters; --redact writes it back as it came. JSON is UTF-8.

\b
Exit codes: 0 done; 1 something was found that --fail-on names; 2 something could
not be read (a packed file, an image or other binary data is no text), or not be
redacted: it is told with its line and not written, and all else was scanned.
What was not looked for to the end is told, and counted in the sum.
"""
)
@config_option
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=str),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help='A text, rows {"text": …}, or a request body as a provider takes it.  '
    "[default: jsonl where the name ends so, else text]",
)
@click.option(
    "--role",
    type=OneOf(Role),
    default=Role.USER,
    metavar="ROLE",
    help="Whose words texts and rows are: user, system, assistant, tool_result, ….  "
    "[default: user]",
)
@click.option("--redact", is_flag=True, help="Write what came, with the values found masked.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each text.")
@click.option("--sarif", is_flag=True, help="One SARIF 2.1.0 document, for code hosts.")
@click.option(
    "--fail-on",
    type=OneOf(Severity),
    help="Exit with 1 where something as bad, or worse, was found.",
)
def scan(
    config: Path | None,
    files: Sequence[str],
    form: str | None,
    role: Role,
    fail_on: Severity | None,
    **how: bool,
) -> None:
    """Look for attacks, secrets and personal data in FILES; - is standard input.

    Says where something was found and what the policy would make of it, never what it is.
    """
    writer, redact = _writer(**how), how["redact"]
    scanner = _scanner(read_config(config))
    sources, total = Sources(files), Total()
    with metered(sources.size, lines=writer.lines) as meter:
        for entry in entries(sources, form, role):
            if isinstance(entry, Unreadable):
                total.unreadable += 1
                writer.unreadable(entry, meter)
            else:
                result = scanner.scan(entry, redact=redact)
                total.take(result)
                writer.result(result, meter)
            meter.advance(sources.done)
    writer.close(total)
    sys.exit(_exit_code(total, fail_on))


class Sources:
    """The files, opened one after the other; knows how far it is."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._read = 0
        self._file: IO[bytes] | None = None

    @property
    def size(self) -> int | None:
        """Bytes of all files, None where one is a pipe."""
        paths = [Path(name) for name in self._names if name != STDIN]
        known = len(paths) == len(self._names) and all(path.is_file() for path in paths)
        return sum(path.stat().st_size for path in paths) if known else None

    @property
    def done(self) -> int:
        """Bytes that were read, of all files."""
        file = self._file
        here = file.tell() if file is not None and not file.closed and file.seekable() else 0
        return self._read + here

    def __iter__(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Open each in its turn; whoever takes one closes it."""
        for name in self._names:
            self._file = click.open_file(name, "rb")
            yield name, self._file
            self._read += Path(name).stat().st_size if name != STDIN else 0


def _scanner(config: Config) -> Scanner:
    try:
        analyzer = with_model(build_analyzer(config, cached=False, bounds=PATIENT), config)
        return Scanner(analyzer, build_policy(config).decide, build_actions(config))
    except BadDetection as error:
        click.echo(str(error), err=True)
        sys.exit(BAD_CONFIG)


def _writer(*, redact: bool, as_json: bool, sarif: bool) -> Writer:
    if sarif and (as_json or redact):
        raise click.UsageError("--sarif goes with neither --json nor --redact")
    if sarif:
        return Sarif()
    if as_json:
        return Rows()
    return Redacted() if redact else Lines()


def _exit_code(total: Total, fail_on: Severity | None) -> int:
    if total.incomplete:
        return INCOMPLETE
    return FOUND if fail_on is not None and total.at_least(fail_on) else 0
