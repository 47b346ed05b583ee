"""Opens the ledger that the configuration names."""

import logging

from llmtrace.app.settings import Settings
from llmtrace.storage.ledger import Ledger, LedgerUnavailable
from llmtrace.storage.sqlite_ledger import SqliteLedger

logger = logging.getLogger(__name__)


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


def ledger_in_time(settings: Settings) -> Ledger:
    """Open the ledger, now or as soon as it can be: a worker serves meanwhile.

    Raises:
        StorageError: It cannot be used: it may forget what was spent.
        ValueError: Its URL is none.
    """
    if settings.config.storage.redis_url is not None:
        return ledger_of(settings)  # one that is down is asked again with each call
    try:
        return ledger_of(settings)
    except LedgerUnavailable as error:
        logger.error("budgets: %s; trying again with each call", error)
        return SqliteLedger.late(settings.shared_database)
