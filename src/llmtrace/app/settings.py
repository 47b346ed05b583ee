"""What a child process is told, and where an installation keeps what."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from llmtrace.config import Config
from llmtrace.environment.home import Home
from llmtrace.providers.hosts import HostTable

SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A configuration and the folder of the installation it is for."""

    config: Config
    home: Home
    run: str = ""
    """What all workers have in common that take over together, and no others: in hexadecimal."""

    @property
    def spool(self) -> Path:
        """Where the journal lies."""
        return self.config.spool.directory or self.home.path / "spool"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.config.storage.database_path or self.home.database

    @property
    def shared_database(self) -> Path:
        """The SQLite file that workers and commands write to: budgets, keys and tenants."""
        return self.database.with_name("limits.sqlite")

    @property
    def state(self) -> Path:
        """Where a running gateway says that it runs, and at which addresses."""
        return self.home.path / "gateway.json"

    def hosts(self) -> HostTable:
        """Return the table of governed hosts."""
        intercept = self.config.intercept
        return HostTable(intercept.hosts, telemetry=tuple(intercept.exclude))

    def permitted_names(self) -> list[str]:
        """Return the subtrees that the CA may sign for."""
        hosts = self.hosts()
        return [*hosts.permitted_dns(), *hosts.permitted_addresses()]

    def secret(self) -> bytes:
        """Return the installation's secret, made on first use; fingerprints depend on it.

        Raises:
            OSError: It can be neither read nor made.
        """
        path = self.home.path / "secret"
        if not path.exists():
            _make_whole(path, secrets.token_bytes(SECRET_BYTES))
        found = path.read_bytes()
        if len(found) < SECRET_BYTES:
            raise OSError(
                f"{path}: {len(found)} bytes, expected {SECRET_BYTES}; put back the one it was. "
                "Without it no LLMTrace key is known again: delete it to begin anew"
            )
        return found

    def prepare(self) -> None:
        """Make the folders, private. Raises: OSError."""
        self.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.secret()

    def dump(self) -> str:
        """Write it for a child process, secrets included: for a pipe, not for a file."""
        values = self.config.model_dump(mode="json")
        proxy = self.config.upstream_proxy
        values["upstream_proxy"] = proxy.get_secret_value() if proxy else None
        redis = self.config.storage.redis_url
        values["storage"]["redis_url"] = redis.get_secret_value() if redis else None
        cache = self.config.storage.cache_url
        values["storage"]["cache_url"] = cache.get_secret_value() if cache else None
        canaries = self.config.security_analysis.canaries
        values["security_analysis"]["canaries"] = [one.get_secret_value() for one in canaries]
        return json.dumps({"config": values, "home": str(self.home.path), "run": self.run})

    @classmethod
    def parse(cls, text: str) -> "Settings":
        """Read what ``dump`` wrote."""
        values = json.loads(text)
        config = Config.model_validate(values["config"])
        return cls(config=config, home=Home(Path(values["home"])), run=values["run"])

    def proxy_url(self) -> str | None:
        """Return the upstream proxy's URL with its credentials."""
        secret: SecretStr | None = self.config.upstream_proxy
        return secret.get_secret_value() if secret else None


def _make_whole(path: Path, content: bytes) -> None:
    """Make a private file with all of its content at once, unless another process does."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fsync(fd)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
