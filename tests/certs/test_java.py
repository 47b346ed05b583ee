import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llmtrace.certs.authority import CertificateAuthority
from llmtrace.certs.java import (
    PASSWORD,
    JavaSource,
    find_source,
    from_options,
    write_truststore,
)

JDK = [found] if (found := shutil.which("keytool")) else []
KEYTOOL = Path("keytool")


def run(command: Sequence[str]) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603


class FakeKeytool:
    """Appends the CA to the store, as keytool would in its way."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> int:
        self.calls.append(command)
        store = Path(command[command.index("-keystore") + 1])
        ca = Path(command[command.index("-file") + 1])
        store.write_bytes(store.read_bytes() + ca.read_bytes())
        return self.code


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param("", None, id="none"),
        pytest.param("-Xmx1g -Dfoo=bar", None, id="other-options"),
        pytest.param("-Djavax.net.ssl.trustStore=/a.p12", ("/a.p12", PASSWORD), id="store"),
        pytest.param(
            "'-Djavax.net.ssl.trustStore=/a b.p12' -Djavax.net.ssl.trustStorePassword=x",
            ("/a b.p12", "x"),
            id="quoted-with-password",
        ),
        pytest.param("-Da='open", None, id="open-quote"),
    ],
)
def test_the_users_truststore_is_found(options: str, expected: tuple[str, str] | None) -> None:
    found = from_options(options)
    assert (found and (str(found.path), found.password)) == expected


def test_the_roots_are_those_of_java_home_then_of_keytools_own_jdk(tmp_path: Path) -> None:
    keytool = tmp_path / "jdk/bin/keytool"
    assert find_source(keytool, {}) is None
    for jdk in ("jdk", "other"):
        (tmp_path / jdk / "lib/security").mkdir(parents=True)
        (tmp_path / jdk / "lib/security/cacerts").touch()
    own = find_source(keytool, {"JAVA_HOME": str(tmp_path / "gone")})
    other = find_source(keytool, {"JAVA_HOME": str(tmp_path / "other")})
    assert own
    assert own.path == tmp_path / "jdk/lib/security/cacerts"
    assert other
    assert other.path == tmp_path / "other/lib/security/cacerts"


def test_the_truststore_is_a_copy_and_the_ca(tmp_path: Path, root_file: Path) -> None:
    source = tmp_path / "cacerts"
    source.write_bytes(b"the company's roots\n")
    made = write_truststore(
        tmp_path,
        root_file,
        keytool=KEYTOOL,
        source=JavaSource(path=source, password="secret"),
        run=(fake := FakeKeytool()),
    )
    assert made
    assert made.read_bytes() == source.read_bytes() + root_file.read_bytes()
    assert source.read_bytes() == b"the company's roots\n"
    assert fake.calls[0][-1] == "secret"


def test_it_is_made_once_until_something_changes(tmp_path: Path, root_file: Path) -> None:
    source = tmp_path / "cacerts"
    source.write_bytes(b"roots")
    fake = FakeKeytool()

    def make() -> Path | None:
        return write_truststore(
            tmp_path, root_file, keytool=KEYTOOL, source=JavaSource(path=source), run=fake
        )

    assert make() == make()
    source.write_bytes(b"more roots")
    make()
    assert len(fake.calls) == 2


@pytest.mark.parametrize("fails", ["keytool", "source"])
def test_what_fails_gives_none_and_leaves_nothing(
    fails: str, tmp_path: Path, root_file: Path
) -> None:
    source = tmp_path / "cacerts"
    if fails == "keytool":
        source.write_bytes(b"roots")
    made = write_truststore(
        tmp_path, root_file, keytool=KEYTOOL, source=JavaSource(path=source), run=FakeKeytool(1)
    )
    assert made is None
    assert [f for f in tmp_path.iterdir() if f != source] == []


@pytest.mark.parametrize("keytool", JDK)
def test_java_trusts_the_ca_by_the_copy_of_its_own_roots(
    keytool: str,
    tmp_path: Path,
    authority: CertificateAuthority,
    root_file: Path,
    serve: Callable[[CertificateAuthority], int],
) -> None:
    source = find_source(Path(keytool), {})
    assert source
    made = write_truststore(tmp_path, root_file, keytool=Path(keytool), source=source, run=run)
    assert made
    assert made.stat().st_size > source.path.stat().st_size
    done = subprocess.run(  # noqa: S603
        (
            *("java", f"-Djavax.net.ssl.trustStore={made}"),
            f"-Djavax.net.ssl.trustStorePassword={PASSWORD}",
            str(Path(__file__).with_name("Probe.java")),
            str(serve(authority)),
            *("api.openai.com", "api.anthropic.com", "example.com", "127.0.0.1"),
        ),
        capture_output=True,
        check=False,
        timeout=60,
    )
    answers = [line.split()[:2] for line in done.stdout.decode().splitlines()]
    assert answers == [
        ["api.openai.com", "accepted"],
        ["api.anthropic.com", "accepted"],
        ["example.com", "refused"],
        ["127.0.0.1", "refused"],
    ]
