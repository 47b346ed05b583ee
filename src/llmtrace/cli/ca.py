"""``llmtrace ca``: show, export, bundle, install, uninstall and rotate the CA."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from llmtrace.certs import stores
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.certs.stores import Installation as Place
from llmtrace.certs.stores import Recorded, Records, Subject, System
from llmtrace.cli.common import config_option, json_option, print_json, read_config
from llmtrace.environment.installation import Installation, installation

STORE_KEYS: Final = sorted({store.key for store in stores.STORES})

store_option = click.option(
    "--store", "wanted", multiple=True, type=click.Choice(STORE_KEYS), help="Only these stores."
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.group()
def ca() -> None:
    """The certificate authority that clients are to trust.

    It can speak for model providers' domains only, ends after 90 days, and its root's key was
    thrown away. 'llmtrace run' needs none of this: it points its command at the CA by itself.
    """


@ca.command()
@config_option
@json_option
def show(config: Path | None, *, as_json: bool) -> None:
    """Show the CA: where, until when, and for which domains. Makes it if there is none."""
    place = installation(read_config(config))
    authority = _open(place)
    facts = _facts(place, authority)
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):<24}{_text(value)}")


@ca.command()
@config_option
def export(config: Path | None) -> None:
    """Print the certificate that clients are to trust, as PEM. It has no key."""
    click.echo(_open(installation(read_config(config))).export_pem(), nl=False)


@ca.command()
@config_option
def bundle(config: Path | None) -> None:
    """Write public roots and the CA as one file, and print its path.

    For variables that replace what a client trusts, such as SSL_CERT_FILE. It starts from the
    file of your own such variable, if one is set.
    """
    place = installation(read_config(config))
    trust = place.trust(_open(place), os.environ, java=False)
    for note in trust.notes:
        click.echo(f"llmtrace: {note}", err=True)
    click.echo(trust.bundle)


@ca.command()
@config_option
@yes_option
def rotate(config: Path | None, *, yes: bool) -> None:
    """Make a new pair for the configured hosts; the old one is of no use then."""
    place = installation(read_config(config))
    if not yes:
        click.confirm(f"Replace the CA in {place.home.ca}?", abort=True, err=True)
    with _plain_errors():
        authority = place.rotate_ca()
        place.trust(authority, os.environ, java=False)
        installed = Records(place.home.store_records).all()
    click.echo(f"New CA until {authority.expires_at:%Y-%m-%d}: {authority.fingerprint}", err=True)
    click.echo("Start a running gateway anew. Programs started from now on trust it.", err=True)
    if installed:
        click.echo(
            "The old one is in system stores: run 'llmtrace ca uninstall' and "
            "'llmtrace ca install'.",
            err=True,
        )


@ca.command()
@config_option
@store_option
@yes_option
@click.option("--dry-run", is_flag=True, help="Print the commands; run nothing.")
def install(config: Path | None, wanted: Sequence[str], *, yes: bool, dry_run: bool) -> None:
    """Put the CA into the trust stores of this system and its browsers.

    Shows every command first, and records what was done for 'llmtrace ca uninstall'.
    """
    place = installation(read_config(config))
    authority = _open(place)
    system = this_system()
    here = stores.find(system)
    if not here:
        raise click.ClickException(_no_store(system))
    found = [f for f in here if not wanted or f.key in wanted]
    if absent := [key for key in wanted if key not in {f.key for f in here}]:
        known = ", ".join(dict.fromkeys(f.key for f in here))
        raise click.ClickException(
            f"--store {', '.join(absent)}: not found on this machine; here are: {known}. "
            "Or point programs at the file: llmtrace ca export > ca.pem"
        )
    with _plain_errors():
        trust = place.trust(authority, os.environ, java=False)
    subject = Subject(pem=authority.export_pem(), file=trust.ca)
    plans = [(f, stores.install_plan(f, subject, system)) for f in found]
    _show(plans)
    if dry_run:
        return
    if not yes:
        click.confirm("Run these commands?", abort=True, err=True)
    records = Records(place.home.store_records)
    failed = 0
    for one, plan in plans:
        # recorded first: what breaks off half-way is to be undone as well
        with _plain_errors():
            records.add(
                Recorded(store=one.key, place=one.place, name=subject.name, pem=subject.pem)
            )
        bad = stores.perform(plan, stores.run_command)
        failed += _done(one, bad)
    for title, program in stores.missing_programs(system).items():
        click.echo(f"{title}: not changed, {program!r} is not installed (libnss3-tools)", err=True)
    sys.exit(1 if failed else 0)


@ca.command()
@config_option
@yes_option
@click.option("--dry-run", is_flag=True, help="Print the commands; run nothing.")
def uninstall(config: Path | None, *, yes: bool, dry_run: bool) -> None:
    """Take out of the trust stores whatever 'llmtrace ca install' put there."""
    place = installation(read_config(config))
    records = Records(place.home.store_records)
    with _plain_errors():
        recorded = records.all()
    if not recorded:
        click.echo("Nothing is recorded as installed.", err=True)
        return
    system = this_system()
    known = {store.key: store for store in stores.STORES if store.platform == system.platform}
    with tempfile.TemporaryDirectory() as folder:
        plans = []
        for number, record in enumerate(recorded):
            file = Path(folder, f"{number}.pem")
            file.write_text(record.pem, encoding="ascii")
            one = Place(store=known[record.store], place=record.place)
            subject = Subject(pem=record.pem, file=file)
            plans.append((one, stores.uninstall_plan(one, subject, system)))
        _show(plans)
        if dry_run:
            return
        if not yes:
            click.confirm("Run these commands?", abort=True, err=True)
        for (one, plan), record in zip(plans, recorded, strict=True):
            subject = Subject(pem=record.pem, file=Path(folder, "0.pem"))
            stores.perform(plan, stores.run_command, to_the_end=True)
            still = stores.trusts(one, subject, system, stores.run_quietly)
            if not still:
                records.remove(record)
            click.echo(f"{one.store.title}: {'STILL THERE' if still else 'removed'}", err=True)


def this_system() -> System:
    """Return the machine that we run on."""
    return System(
        platform=sys.platform,
        root=Path("/"),
        user_home=Path.home(),
        which=stores.which,
        is_administrator=sys.platform == "win32" or os.geteuid() == 0,
    )


def _open(place: Installation) -> CertificateAuthority:
    with _plain_errors():
        authority, made = place.open_ca()
        for line in place.advice(authority, made):
            click.echo(f"llmtrace: {line}", err=True)
    return authority


def _facts(place: Installation, authority: CertificateAuthority) -> dict[str, object]:
    left = authority.expires_at - datetime.now(UTC)
    with _plain_errors():
        installed = Records(place.home.store_records).all()
    return {
        "directory": str(authority.directory),
        "name": authority.name,
        "fingerprint_sha256": authority.fingerprint,
        "expires_at": authority.expires_at.isoformat(),
        "days_left": left.days,
        "matches_configuration": authority.matches(place.permitted),
        "installed_in": [f"{record.store}: {record.place}" for record in installed],
        "permitted_domains": list(authority.permitted),
    }


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no: run 'llmtrace ca rotate'"
    if isinstance(value, list):
        return ", ".join(map(str, value[:6])) + (f" … ({len(value)})" if value[6:] else "") or "-"
    return str(value)


def _show(plans: Sequence[tuple[Place, Sequence[stores.Command]]]) -> None:
    for one, plan in plans:
        click.echo(f"{one.store.title}:", err=True)
        for command in plan:
            click.echo(f"    {' '.join(_word(word) for word in command)}", err=True)


def _word(word: str) -> str:
    return f"'{word}'" if " " in word or not word else word


def _done(one: Place, failed: stores.Command | None) -> bool:
    if failed is None:
        click.echo(f"{one.store.title}: done", err=True)
    else:
        click.echo(f"{one.store.title}: FAILED at: {' '.join(failed)}", err=True)
    return failed is not None


def _no_store(system: System) -> str:
    missing = stores.missing_programs(system)
    hint = "".join(f" {title} needs {program!r}." for title, program in missing.items())
    return (
        f"no trust store that can be changed was found on this machine.{hint} Point programs at "
        "the file instead: llmtrace ca export > ca.pem, or llmtrace env"
    )


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what the rooms raise into one line for people."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
