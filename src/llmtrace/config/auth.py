"""The sections about LLMTrace keys, and about keys that the gateway signs with."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from llmtrace.config.section import Section

ENV: Final = "env:"
FILE: Final = "file:"


class AuthConfig(Section):
    """Who may use the gateway (``auth``). ``llmtrace keys create`` makes keys."""

    enabled: bool = False
    """Whether every call needs an LLMTrace key: as the password of the proxy's URL, as
    ``X-LLMTrace-Token``, or in base-URL mode as the API key. Without one it is refused with 407
    (forward proxy) or 401. A key that is sent is always checked, whatever this says."""

    identity_conflict: Literal["note", "refuse"] = "note"
    """What becomes of a call whose ``X-LLMTrace-Tenant-ID`` names another tenant than that of its
    LLMTrace key. Its key counts in any case, and it is counted and put into the audit log;
    ``refuse``: it is answered with 403 as well."""


def _source(text: str) -> str:
    if not any(text.startswith(prefix) and text != prefix for prefix in (ENV, FILE)):
        raise ValueError(
            "does not say where a secret is kept; expected env:NAME of a variable, or file:PATH. "
            "The secret itself does not belong here"
        )
    return text


type SecretSource = Annotated[str, Field(max_length=4096), AfterValidator(_source)]
"""``env:NAME`` or ``file:PATH``, as text: where a secret is kept."""


class AwsKeysConfig(Section):
    """Keys of an AWS account, by where they are kept."""

    access_key_id: SecretSource
    """``env:NAME`` of a variable, or ``file:PATH``. A file is read anew with each signed call, so
    that keys which are rotated there are used at once."""

    secret_access_key: SecretSource
    """The same for the secret."""

    session_token: SecretSource | None = None
    """The same for the token of keys that do not last."""


class ResigningConfig(Section):
    """What signs a call anew that came signed and that the policy or a budget changed
    (``resigning``). Without keys such a call is refused."""

    aws: Annotated[list[AwsKeysConfig], Field(max_length=32)] = []
    """Keys for calls to Bedrock (SigV4): each with ``access_key_id``, ``secret_access_key`` and,
    for keys that do not last, ``session_token``. A call is signed anew with the keys that its
    client signed it with, if its own signature proves that."""

    for_key_holders: bool = False
    """Whether a call that comes with an LLMTrace key is signed with the first of ``aws`` where
    its client signed it with others: it is made, and paid, in the name of these then."""
