import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmtrace.certs import stores
from llmtrace.certs.stores import Command, System
from llmtrace.cli import ca as module
from llmtrace.cli.ca import ca


class FakeMachine:
    """A Debian machine in a folder; commands are done by hand, or fail."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.place = self.root / "usr/local/share/ca-certificates"
        self.bundle = self.root / "etc/ssl/certs/ca-certificates.crt"
        self.place.mkdir(parents=True)
        self.bundle.parent.mkdir(parents=True)
        self.bundle.touch()
        self.fails = False
        self.ran: list[Command] = []

    def system(self) -> System:
        return System(
            platform="linux",
            root=self.root,
            user_home=self.root / "home",
            which=lambda program: program if program == "update-ca-certificates" else None,
            is_administrator=True,
        )

    def run(self, command: Command) -> int:
        self.ran.append(command)
        if self.fails:
            return 1
        match command[0]:
            case "install":
                Path(command[-1]).write_bytes(Path(command[-2]).read_bytes())
            case "rm":
                Path(command[-1]).unlink(missing_ok=True)
            case _:
                files = sorted(self.place.glob("*.crt"))
                self.bundle.write_bytes(b"".join(f.read_bytes() for f in files))
        return 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    made = FakeMachine(tmp_path)
    monkeypatch.setattr(module, "this_system", made.system)
    monkeypatch.setattr(stores, "run_command", made.run)
    return made


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMTRACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def invoke(*words: str, answer: str = "") -> Result:
    return CliRunner().invoke(ca, words, input=answer)


def test_show_makes_it_and_says_where_until_when_and_for_what(own_home: Path) -> None:
    result = invoke("show", "--json")
    assert f"made a CA in {own_home / 'ca'}" in result.stderr
    facts = json.loads(result.stdout)
    assert facts["days_left"] == 89
    assert facts["matches_configuration"] is True
    assert "api.openai.com" in facts["permitted_domains"]
    assert facts["installed_in"] == []
    table = invoke("show").stdout
    assert facts["fingerprint_sha256"] in table
    assert "… (" in table


def test_export_prints_a_certificate_and_never_a_key() -> None:
    result = invoke("export")
    assert result.stdout.startswith("-----BEGIN CERTIFICATE-----\n")
    assert result.stdout.count("-----BEGIN") == 1
    assert result.stdout == invoke("export").stdout


def test_bundle_prints_the_path_of_roots_and_the_ca() -> None:
    path = Path(invoke("bundle").stdout.strip())
    assert path.read_text().count("BEGIN CERTIFICATE") > 1
    assert os.stat(path).st_mode & 0o777 == 0o644


def test_rotate_asks_and_then_makes_a_new_one() -> None:
    before = invoke("export").stdout
    assert invoke("rotate", answer="n\n").exit_code == 1
    assert invoke("export").stdout == before
    result = invoke("rotate", "--yes")
    assert result.exit_code == 0
    assert "Start a running gateway anew" in result.stderr
    assert invoke("export").stdout != before


def test_a_dry_run_shows_the_commands_and_runs_none(machine: FakeMachine) -> None:
    result = invoke("install", "--dry-run")
    assert "update-ca-certificates" in result.stderr
    assert machine.ran == []


def test_install_asks_does_records_and_is_undone(machine: FakeMachine, own_home: Path) -> None:
    assert invoke("install", answer="n\n").exit_code == 1
    assert machine.ran == []
    assert invoke("install", answer="y\n").exit_code == 0
    assert machine.bundle.read_text() == invoke("export").stdout
    assert json.loads(invoke("show", "--json").stdout)["installed_in"] == [
        f"debian: {machine.place}"
    ]
    result = invoke("uninstall", "--yes")
    assert "removed" in result.stderr
    assert machine.bundle.read_text() == ""
    assert "Nothing is recorded" in invoke("uninstall", "--yes").stderr


def test_what_was_installed_before_a_rotation_is_removed_too(machine: FakeMachine) -> None:
    invoke("install", "--yes")
    assert "ca uninstall" in invoke("rotate", "--yes").stderr
    assert "removed" in invoke("uninstall", "--yes").stderr
    assert list(machine.place.iterdir()) == []


def test_a_store_that_fails_is_said_and_stays_recorded(machine: FakeMachine) -> None:
    machine.fails = True
    result = invoke("install", "--yes")
    assert result.exit_code == 1
    assert "FAILED at: install -m 0644" in result.stderr
    assert json.loads(invoke("show", "--json").stdout)["installed_in"]


def test_a_machine_without_a_store_is_told_what_to_do_instead(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = invoke("install", "--store", "arch")
    assert result.exit_code == 1
    assert "--store arch: not found on this machine; here are: " in result.stderr
    assert "llmtrace ca export" in result.stderr
    assert machine.ran == []


def test_a_broken_ca_is_one_line(own_home: Path) -> None:
    invoke("export")
    (own_home / "ca/mitmproxy-ca.pem").write_text("broken")
    for command in ("show", "export", "bundle", "install"):
        result = invoke(command)
        assert result.exit_code == 1
        assert "llmtrace ca rotate" in result.stderr
    assert invoke("rotate", "--yes").exit_code == 0
