"""The section about LLMTrace keys."""

from llmtrace.config.section import Section


class AuthConfig(Section):
    """Who may use the gateway (``auth``). ``llmtrace keys create`` makes keys."""

    enabled: bool = False
    """Whether every call needs an LLMTrace key: as the password of the proxy's URL, as
    ``X-LLMTrace-Token``, or in base-URL mode as the API key. Without one it is refused with 407
    (forward proxy) or 401. A key that is sent is always checked, whatever this says."""
