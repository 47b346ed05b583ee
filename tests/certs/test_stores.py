import json
import shutil
import subprocess
from pathlib import Path

import pytest

from llmtrace.certs import stores
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.certs.stores import (
    STORES,
    Command,
    Installation,
    Recorded,
    Records,
    Subject,
    System,
    find,
    install_plan,
    perform,
    trusts,
    uninstall_plan,
)

NSS = [found] if (found := shutil.which("certutil")) and shutil.which("modutil") else []
DEBIAN = [found] if (found := shutil.which("update-ca-certificates")) else []


def machine(tmp_path: Path, platform: str = "linux", *, admin: bool = True) -> System:
    return System(
        platform=platform,
        root=tmp_path / "root",
        user_home=tmp_path / "home",
        which=lambda program: f"/usr/bin/{program}",
        is_administrator=admin,
    )


@pytest.fixture
def subject(authority: CertificateAuthority, root_file: Path) -> Subject:
    return Subject(pem=authority.export_pem(), file=root_file)


def place(tmp_path: Path, key: str) -> None:
    made = {
        "debian": "root/usr/local/share/ca-certificates",
        "fedora": "root/etc/pki/ca-trust/source/anchors",
        "arch": "root/etc/ca-certificates/trust-source",
        "macos": "home/Library/Keychains/login.keychain-db",
        "nss": "home/.mozilla/firefox/abc.default",
        "windows": "home",
    }[key]
    (tmp_path / made).mkdir(parents=True)
    if key == "nss":
        (tmp_path / made / "cert9.db").touch()


PLATFORM = {"macos": "darwin", "windows": "win32"}


@pytest.mark.parametrize("key", ["debian", "fedora", "arch", "macos", "nss", "windows"])
def test_a_store_is_found_where_it_is_and_its_commands_are_whole(
    key: str, tmp_path: Path, subject: Subject
) -> None:
    system = machine(tmp_path, PLATFORM.get(key, "linux"))
    assert key not in {i.key for i in find(system)} or key == "windows"
    place(tmp_path, key)
    [found] = [i for i in find(system) if i.key == key]
    words = [
        word
        for plan in (install_plan, uninstall_plan)
        for command in plan(found, subject, system)
        for word in command
    ]
    assert words
    assert not [word for word in words if "{" in word or word == ""]
    assert any(str(subject.file) in word for word in words)


def test_a_store_without_its_program_is_not_found_but_said(tmp_path: Path) -> None:
    place(tmp_path, "nss")
    system = machine(tmp_path)
    bare = System(
        platform="linux",
        root=system.root,
        user_home=system.user_home,
        which=lambda _: None,
        is_administrator=True,
    )
    assert find(bare) == ()
    assert stores.missing_programs(bare) == {"Firefox and other NSS databases": "certutil"}
    assert stores.missing_programs(system) == {}


def test_a_system_store_is_changed_by_sudo_and_a_users_own_is_not(
    tmp_path: Path, subject: Subject
) -> None:
    place(tmp_path, "debian")
    place(tmp_path, "nss")
    system = machine(tmp_path, admin=False)
    words = {i.key: install_plan(i, subject, system)[0][0] for i in find(system)}
    assert words == {"debian": "sudo", "nss": "certutil"}


def test_a_plan_stops_at_what_fails_and_removal_goes_on() -> None:
    ran: list[Command] = []

    def run(command: Command) -> int:
        ran.append(command)
        return 1 if command == ("b",) else 0

    assert perform([("a",), ("b",), ("c",)], run) == ("b",)
    assert perform([("b",), ("c",)], run, to_the_end=True) == ("b",)
    assert perform([("a",)], run) is None
    assert ran == [("a",), ("b",), ("b",), ("c",), ("a",)]


def test_each_key_is_one_store_on_each_platform() -> None:
    keys = [(store.key, store.platform) for store in STORES]
    assert len(set(keys)) == len(keys)


def test_records_are_kept_once_and_forgotten(tmp_path: Path) -> None:
    records = Records(tmp_path / "stores.json")
    assert records.all() == ()
    one = Recorded(store="nss", place="/p", name="LLMTrace root 1", pem="PEM")
    two = Recorded(store="debian", place="/q", name="LLMTrace root 1", pem="PEM")
    for record in (one, two, one):
        records.add(record)
    assert records.all() == (one, two)
    records.remove(one)
    assert Records(tmp_path / "stores.json").all() == (two,)


@pytest.mark.parametrize("content", [b"{", b"[1]", b'[{"store": "x"}]', b"\xff"])
def test_records_that_cannot_be_read_are_a_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "stores.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="list of stores"):
        Records(path).all()


@pytest.mark.parametrize("program", DEBIAN)
def test_debians_own_tool_adds_and_removes_it(
    program: str, tmp_path: Path, subject: Subject
) -> None:
    """The real tool, with its directories in a place of its own."""
    system = machine(tmp_path)
    place(tmp_path, "debian")
    etc, empty, conf = tmp_path / "root/etc/ssl/certs", tmp_path / "empty", tmp_path / "conf"
    etc.mkdir(parents=True)
    empty.mkdir()
    conf.touch()
    [found] = find(system)
    other, _ = CertificateAuthority.ensure(tmp_path / "other", ["example.com"])
    Path(found.place, "company.crt").write_text(other.export_pem())
    where = (
        *("--localcertsdir", found.place, "--etccertsdir", str(etc), "--hooksdir", str(empty)),
        *("--certsdir", str(empty), "--certsconf", str(conf)),
    )

    def run(command: Command) -> int:
        if command[0] == "update-ca-certificates":
            command = (program, *command[1:], *where)
        return subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603

    assert not trusts(found, subject, system, run)
    assert perform(install_plan(found, subject, system), run) is None
    assert trusts(found, subject, system, run)
    assert perform(uninstall_plan(found, subject, system), run) is None
    assert not trusts(found, subject, system, run)


@pytest.mark.parametrize("program", NSS)
def test_a_real_nss_database_takes_it_and_gives_it_back(
    program: str, tmp_path: Path, subject: Subject
) -> None:
    profile = tmp_path / "home/.pki/nssdb"
    profile.mkdir(parents=True)
    subprocess.run(  # noqa: S603
        (program, "-N", "--empty-password", "-d", f"sql:{profile}"), check=True, timeout=30
    )
    system = machine(tmp_path)
    [found] = find(system)
    assert found == Installation(store=found.store, place=str(profile))
    assert not trusts(found, subject, system, stores.run_quietly)
    assert perform(install_plan(found, subject, system), stores.run_quietly) is None
    assert trusts(found, subject, system, stores.run_quietly)
    assert perform(uninstall_plan(found, subject, system), stores.run_quietly) is None
    assert not trusts(found, subject, system, stores.run_quietly)


def test_a_program_that_is_not_there_fails(tmp_path: Path) -> None:
    assert stores.run_quietly((str(tmp_path / "none"),)) == 127
    assert stores.run_command((str(tmp_path / "none"),)) == 127


def test_programs_of_administrators_are_found_without_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "sbin"
    theirs.mkdir()
    program = theirs / "update-some-certificates"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert stores.which(program.name) is None
    monkeypatch.setattr(stores, "ADMINISTRATORS", (str(theirs),))
    assert stores.which(program.name) == str(program)
    assert stores.run_command((program.name,)) == 3
    assert stores.run_quietly((program.name,)) == 3


def test_the_record_file_has_certificates_only(tmp_path: Path, subject: Subject) -> None:
    records = Records(tmp_path / "stores.json")
    records.add(Recorded(store="nss", place="/p", name=subject.name, pem=subject.pem))
    assert "PRIVATE" not in json.dumps((tmp_path / "stores.json").read_text())
