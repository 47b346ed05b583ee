"""Tenants and keys as a person manages them: each change is checked, made and put on the record."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from llmtrace.app.settings import Settings
from llmtrace.domain.ids import DEFAULT_TENANT, NAME, new_trace_id
from llmtrace.domain.traces import AuditEvent, Tenant
from llmtrace.environment.gateway import RunKey
from llmtrace.environment.installation import user
from llmtrace.environment.program import program
from llmtrace.storage import keys as forms
from llmtrace.storage.base import MetadataRepository, SchemaMismatch, TenantNotFound
from llmtrace.storage.keys import Key, KeyNotFound, KeyRepository, Role
from llmtrace.storage.newcomers import FIRST_SIGHT
from llmtrace.storage.sqlite_file import SqliteFile
from llmtrace.storage.sqlite_keys import SqliteKeyRepository
from llmtrace.storage.sqlite_metadata import SqliteMetadataRepository, adopt
from llmtrace.storage.sqlite_shared import SharedSqliteFile

RUN_KEY_LIFE: Final = timedelta(hours=24)
"""How long the key of a run is good, if nobody could revoke it."""


class Accounts:
    """The tenants and keys of an installation.

    Args:
        secret: The installation's: what is kept of a key depends on it.
        actor: Who is at work, for the audit log.
    """

    def __init__(
        self,
        metadata: MetadataRepository,
        keys: KeyRepository,
        *,
        secret: bytes,
        actor: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._metadata = metadata
        self._keys = keys
        self._secret = secret
        self._actor = actor
        self._now = now

    # --- tenants ------------------------------------------------------------------------------

    def tenants(self) -> Sequence[Tenant]:
        """Return all tenants by name."""
        return self._metadata.tenants()

    def tenant(self, tenant_id: str) -> Tenant:
        """Return one tenant. Raises: TenantNotFound, with the nearest there is."""
        try:
            return self._metadata.tenant(tenant_id)
        except TenantNotFound:
            near = _nearest(tenant_id, (tenant.id for tenant in self.tenants()))
            raise TenantNotFound(
                f"there is no tenant {tenant_id!r}{near}; '{program()} tenants create' makes one"
            ) from None

    def create_tenant(self, tenant_id: str, *, name: str = "", plan: str = "") -> Tenant:
        """Create a tenant, or take charge of one that was met and that nobody created.

        Raises:
            ValueError: The id is none, or somebody has created it already.
        """
        _check("tenant", tenant_id)
        tenant = Tenant(id=tenant_id, name=name or tenant_id, created_at=self._now(), plan=plan)
        with suppress(TenantNotFound):
            met = self._metadata.tenant(tenant_id)
            if met.plan != FIRST_SIGHT:
                raise ValueError(f"there is a tenant {tenant_id!r} already")
            tenant = replace(tenant, created_at=met.created_at)
        self._metadata.put_tenant(tenant)
        self._note("tenant_created", tenant_id, f"tenant/{tenant_id}", {"name": tenant.name})
        return tenant

    def delete_tenant(self, tenant_id: str) -> None:
        """Delete a tenant. What was recorded of its calls stays.

        Raises:
            TenantNotFound: There is none with this id.
            ValueError: It has keys that work.
        """
        self.tenant(tenant_id)
        if working := self.keys(tenant=tenant_id):
            which = "a key that works" if len(working) == 1 else f"{len(working)} keys that work"
            raise ValueError(
                f"tenant {tenant_id!r} has {which}; revoke first what "
                f"'{program()} keys list --tenant {tenant_id}' shows"
            )
        self._metadata.delete_tenant(tenant_id)
        self._note("tenant_deleted", tenant_id, f"tenant/{tenant_id}", {})

    # --- keys ---------------------------------------------------------------------------------

    def keys(self, *, tenant: str | None = None, ended: bool = False) -> Sequence[Key]:
        """Return the keys that work, oldest first, or with ``ended`` all of them."""
        return self._keys.keys(tenant=tenant, works_at=None if ended else self._now())

    def create_key(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        agent: str = "",
        role: Role = Role.OPERATOR,
        name: str = "",
        run: str = "",
        expires_at: datetime | None = None,
    ) -> tuple[Key, str]:
        """Make a key; return what is kept of it, and the key, which is nowhere else.

        Raises:
            TenantNotFound: There is no such tenant.
            ValueError: The agent is none, or the key would expire before it is made.
            TooManyKeys: There are as many as there may be.
        """
        now = self._now()
        if agent:
            _check("agent", agent)
        if expires_at is not None and expires_at <= now:
            raise ValueError(f"the key would expire at {expires_at.isoformat()}, which is over")
        if tenant == DEFAULT_TENANT:
            self._metadata.meet_tenant(Tenant(id=tenant, name=tenant, created_at=now))
        else:
            self.tenant(tenant)
        key_id, token = forms.new_token()
        key = Key(
            id=key_id,
            tenant=tenant,
            role=role,
            created_at=now,
            digest=forms.digest_of(token, self._secret),
            agent=agent,
            name=name,
            run=run,
            expires_at=expires_at,
        )
        self._keys.add(key)
        self._note_key("key_created", key)
        return key, token

    def revoke_key(self, key_id: str) -> Key:
        """Make a key useless, for good. Raises: KeyNotFound, with the nearest there is."""
        key_id = self._known(key_id)
        key = self._keys.revoke(key_id, at=self._now())
        self._note_key("key_revoked", key)
        return key

    def rotate_key(self, key_id: str, *, grace: timedelta = timedelta()) -> tuple[Key, str]:
        """Give a key another secret; the one it has is good for ``grace`` from now on.

        Raises:
            KeyNotFound: There is none with this id.
            ValueError: It is revoked or expired.
        """
        key_id, now = self._known(key_id), self._now()
        token = forms.rotated_token(key_id)
        key = self._keys.rotate(
            key_id,
            digest=forms.digest_of(token, self._secret),
            at=now,
            previous_until=now + grace if grace else None,
        )
        self._note_key("key_rotated", key)
        return key, token

    def _known(self, key_id: str) -> str:
        """Return the id that is meant: all of a key may stand for it."""
        key_id = key_id.removeprefix(forms.PREFIX).partition("_")[0]
        try:
            return self._keys.get(key_id).id
        except KeyNotFound:
            near = _nearest(key_id, (key.id for key in self.keys(ended=True)))
            raise KeyNotFound(
                f"there is no key {key_id[:64]!r}{near}; '{program()} keys list --all' shows them"
            ) from None

    # --- the audit log ------------------------------------------------------------------------

    def _note_key(self, event: str, key: Key) -> None:
        told = {"role": key.role, "agent": key.agent, "name": key.name, "run": key.run}
        times = {"expires_at": key.expires_at, "previous_until": key.previous_until}
        data = {name: value for name, value in told.items() if value}
        data |= {name: at.isoformat() for name, at in times.items() if at}
        self._note(event, key.tenant, f"key/{key.id}", data)

    def _note(self, event: str, tenant: str, resource: str, data: Mapping[str, object]) -> None:
        self._metadata.audit(
            AuditEvent(
                id=new_trace_id(),
                tenant=tenant,
                event_type=event,
                actor=self._actor,
                resource=resource,
                timestamp=self._now(),
                data=data,
            )
        )


@contextmanager
def accounts(settings: Settings) -> Iterator[Accounts]:
    """Open the tenants and keys of an installation, whether its gateway runs or not.

    The actor is the user whom the system names.

    Raises:
        StorageError: The file cannot be used.
        OSError: The installation's folder cannot be made.
    """
    settings.prepare()
    file = SharedSqliteFile(settings.shared_database)
    try:
        _adopt(settings, file)
        yield Accounts(
            SqliteMetadataRepository(file),
            SqliteKeyRepository(file),
            secret=settings.secret(),
            actor=user(),
        )
    finally:
        file.close()


def run_key(settings: Settings, run: str) -> RunKey:
    """Make a key for a run, good for ``RUN_KEY_LIFE`` at most. Raises: as ``accounts``."""
    with accounts(settings) as opened:
        expires_at = datetime.now(UTC) + RUN_KEY_LIFE
        key, token = opened.create_key(run=run, expires_at=expires_at)

    def revoke() -> None:
        with accounts(settings) as opened:
            opened.revoke_key(key.id)

    return RunKey(token=token, revoke=revoke)


def _adopt(settings: Settings, shared: SharedSqliteFile) -> None:
    """Take over what was once kept with the traces."""
    if not settings.database.exists():
        return
    with suppress(SchemaMismatch):  # the gateway brings it up to date at its next start
        traces = SqliteFile(settings.database, read_only=True)
        try:
            adopt(shared, traces)
        finally:
            traces.close()


def _check(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is no {what}; expected 1 to 128 of A-Z a-z 0-9 . _ : -")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
