"""The prices that a configuration asks for."""

from typing import TYPE_CHECKING

from llmtrace.config import Config

if TYPE_CHECKING:
    from llmtrace.providers.pricing import PriceBook


def price_book(config: Config) -> "PriceBook | None":
    """Return the prices in force, None if calls are not to be priced.

    Raises:
        ValueError: An entry of the file or of ``custom_models`` is wrong; the message names it.
        OSError: The file cannot be read.
    """
    cost = config.cost_estimation
    if not cost.enabled:
        return None
    from llmtrace.providers.pricing import PriceBook  # takes half a second: not at start

    custom = {name: model.model_dump() for name, model in cost.custom_models.items()}
    return PriceBook(custom_models=custom, pricing_file=cost.pricing_file)
