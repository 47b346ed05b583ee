"""What a store of sealed values promises, and the one that forgets them with the process."""

import threading
from collections import OrderedDict
from typing import Final, Protocol

MAX_ENTRIES: Final = 100_000


class VaultStore(Protocol):
    """Keeps sealed values for a while. Safe to share between threads.

    It knows neither the values nor the key: whoever reads it learns how many there are.
    """

    def put(self, tenant: str, masked: str, sealed: bytes, expires: float) -> None:
        """Keep a sealed value until ``expires`` (seconds since 1970), in the place of an older one.

        It can be read at once, in this process; how soon in others, and whether it survives
        this one, is up to the store.

        Raises:
            StorageError: It was not kept.
        """
        ...

    def get(self, tenant: str, masked: str, now: float) -> bytes | None:
        """Return a sealed value that has not expired, None if there is none.

        Raises:
            StorageError: It cannot be told.
        """
        ...

    def purge(self, before: float) -> None:
        """Delete what expired before a time (seconds since 1970).

        Raises:
            StorageError: Nothing was deleted.
        """
        ...

    def close(self) -> None:
        """Finish what was begun, and let go of the store."""
        ...


class MemoryVault:
    """Keeps values in this process: the latest ``max_entries``."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._kept: OrderedDict[tuple[str, str], tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, tenant: str, masked: str, sealed: bytes, expires: float) -> None:
        """Keep a value until ``expires``."""
        with self._lock:
            self._kept[tenant, masked] = (sealed, expires)
            self._kept.move_to_end((tenant, masked))
            if len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)

    def get(self, tenant: str, masked: str, now: float) -> bytes | None:
        """Return a value that has not expired."""
        with self._lock:
            sealed, expires = self._kept.get((tenant, masked), (None, 0.0))
        return sealed if expires > now else None

    def purge(self, before: float) -> None:
        """Delete what expired before a time."""
        with self._lock:
            for key in [key for key, (_, expires) in self._kept.items() if expires < before]:
                del self._kept[key]

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""
