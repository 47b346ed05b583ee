"""Where an installation keeps its files: ``$LLMTRACE_HOME``, else ``~/.llmtrace``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one installation, and what is where in it."""

    path: Path

    @property
    def ca(self) -> Path:
        """The CA, private (0700)."""
        return self.path / "ca"

    @property
    def trust(self) -> Path:
        """What clients read: the CA's certificate, bundles, truststores. No key."""
        return self.path / "trust"

    @property
    def store_records(self) -> Path:
        """Into which system stores the CA was put."""
        return self.path / "trust-stores.json"

    @property
    def tls_failures(self) -> Path:
        """TLS handshakes that clients broke off, by server name; the gateway writes it."""
        return self.path / "tls_failures.json"

    @property
    def database(self) -> Path:
        """The SQLite file, unless ``storage.database_path`` names another."""
        return self.path / "llmtrace.db"


def home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder, absolute; it may not be there yet."""
    named = (os.environ if environ is None else environ).get("LLMTRACE_HOME", "")
    return Path(named).expanduser().absolute() if named else Path.home() / ".llmtrace"
