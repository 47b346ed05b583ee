from pathlib import Path

import pytest

from llmtrace.certs.authority import CertificateAuthority
from llmtrace.environment.home import Home
from llmtrace.environment.trust import Trust, prepare_trust


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    made, _ = CertificateAuthority.ensure(tmp_path_factory.mktemp("ca"), ["api.openai.com"])
    return made


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def trust(place: Home, authority: CertificateAuthority) -> Trust:
    return prepare_trust(place, authority.export_pem(), {})
