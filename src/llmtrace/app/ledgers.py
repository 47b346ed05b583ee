"""Opens the ledger that the configuration names."""

from llmtrace.app.settings import Settings
from llmtrace.storage.ledger import Ledger
from llmtrace.storage.sqlite_ledger import SqliteLedger


def ledger_of(settings: Settings) -> Ledger:
    """Open the ledger.

    Raises:
        LedgerUnavailable: It cannot be opened now.
        StorageError: It cannot be used: it may forget what was spent.
        ValueError: Its URL is none.
    """
    url = settings.config.storage.redis_url
    if url is None:
        return SqliteLedger.at(settings.shared_database)
    from llmtrace.storage.redis_ledger import RedisLedger  # takes a moment: not for others

    return RedisLedger.at(url.get_secret_value())
