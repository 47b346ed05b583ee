"""Signs calls anew that came signed (AWS SigV4) and were changed, where the operator gave keys."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import parse_qsl

from llmtrace.pipeline.call import Call
from llmtrace.pipeline.counters import Counters
from llmtrace.providers import sigv4
from llmtrace.providers.sigv4 import AwsKeys, NotSignable, SignedRequest, Signing

logger = logging.getLogger(__name__)

RESIGNED: Final = "resigned"
"""Attribute of a trace: the request was changed and signed anew."""
SERVICE: Final = "bedrock"
"""What the name of the service begins with that a call may be signed for."""
UNREADABLE: Final = "the keys in resigning.aws cannot be read now; the gateway's log says why"
_NOT_PROVED: Final = "its own signature is not right by any of the keys in resigning.aws"
_QUERY: Final = "x-amz-signature"

type KeySource = Callable[[], AwsKeys]
"""Reads keys where they are kept. Raises: OSError, ValueError; neither quotes them."""


class Resigner:
    """Knows the operator's keys, and which calls may be signed with them. One per worker.

    A call is signed anew with the keys that it was signed with, which is proved by its own
    signature: over the bytes that came, and good for as long as it was. With ``for_key_holders``
    calls that came with an LLMTrace key are signed whatever they were signed with.
    """

    def __init__(
        self,
        sources: Sequence[KeySource],
        counters: Counters,
        *,
        is_bedrock: Callable[[str, int], bool],
        for_key_holders: bool = False,
    ) -> None:
        self._sources = tuple(sources)
        self._counters = counters
        self._is_bedrock = is_bedrock
        self._for_key_holders = for_key_holders

    async def look(self, call: Call, body: bytes) -> None:
        """Find out whether a call that came with these bytes can be signed anew. Never raises."""
        if not is_signed(call):
            return
        try:
            call.signing = await asyncio.to_thread(self._signing, call, body)
            call.credentials.add(call.signing.keys.token)
        except NotSignable as error:
            call.unsignable = str(error)
        except (OSError, ValueError) as error:
            call.signing, call.unsignable = None, UNREADABLE
            self._counters.count("resigning_failed")
            logger.error("call %s cannot be signed anew: %s", call.id, error)

    def _signing(self, call: Call, body: bytes) -> Signing:
        head = call.head
        if not self._is_bedrock(head.host, head.port):
            raise NotSignable("its host is not Bedrock's")
        came = SignedRequest(
            method=head.method,
            host=head.authority,
            target=head.target,
            headers=head.headers,
            body_sha256=hashlib.sha256(body).hexdigest(),
        )
        signature = sigv4.read_signature(came)
        if not signature.service.startswith(SERVICE):
            raise NotSignable("it is signed for another service than Bedrock")
        unread: Exception | None = None
        first: AwsKeys | None = None
        for place, read in enumerate(self._sources):
            try:
                keys = read()
            except (OSError, ValueError) as error:
                unread = unread or error
                continue
            if sigv4.is_valid(came, signature, keys):
                return Signing(signature=signature, keys=keys)
            if place == 0:
                first = keys
        if first and self._for_key_holders and call.known.get("key_id"):
            return Signing(signature=signature, keys=first)
        raise unread or NotSignable(_NOT_PROVED)


def is_signed(call: Call) -> bool:
    """Whether a call's body is part of a signature (SigV4), in a header or in the query."""
    query = call.head.query
    return any(value.startswith("AWS4-") for value in call.head.values("authorization")) or (
        _QUERY in query.lower() and any(n.lower() == _QUERY for n, _ in parse_qsl(query))
    )


def is_fixed(call: Call) -> bool:
    """Whether a call's body cannot be changed without its signature being wrong."""
    return is_signed(call) and call.signing is None
