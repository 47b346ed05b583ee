"""Reads requests: decodes them, parses them, and learns what they say."""

from llmtrace.domain.traces import Body
from llmtrace.pipeline.call import Call
from llmtrace.pipeline.conversation import Conversations
from llmtrace.pipeline.credentials import value_at
from llmtrace.pipeline.requests import FREE_FORM, MAX_NAME, Bounds, target_of
from llmtrace.providers import jsongate
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.decoding import decode_request
from llmtrace.providers.detect import route
from llmtrace.providers.forms import model_of_form
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import BadJson, Reason
from llmtrace.providers.media import CREDENTIAL
from llmtrace.providers.registry import dialect as dialect_named


class RequestReader:
    """Reads the requests of one worker, in any thread."""

    def __init__(
        self, *, hosts: HostTable, bounds: Bounds, conversations: Conversations, keep_bodies: bool
    ) -> None:
        self._hosts = hosts
        self._bounds = bounds
        self._conversations = conversations
        self._keep_bodies = keep_bodies

    def read(self, call: Call, body: bytes) -> tuple[bytes, Json]:
        """Return a request's decoded body and what it is as JSON, None where it is none.

        Raises:
            UndecodableBody: Its coding is unknown, or lies.
            BodyTooLarge: It is larger than the bounds.
            BadJson: It is no JSON, or none that all parsers read alike.
            TooManyCredentials: It carries more credentials than can be hidden.
        """
        bounds = self._bounds
        content = decode_request(
            body,
            call.head.values("content-encoding"),
            max_size=bounds.decoded_bytes,
            max_ratio=bounds.decoded_ratio,
        )
        call.request_bytes = len(content)
        media_type = next(iter(call.head.values("content-type")), "")
        if content and self._keep_bodies:
            call.request_body = Body(content=content, media_type=media_type)
        parsed = self._json(call, content, media_type)
        if parsed is not None:
            self.understand(call, parsed)
        elif model := model_of_form(content, media_type):
            call.know(model=model[:MAX_NAME])
        return content, parsed

    def _json(self, call: Call, content: bytes, media_type: str) -> Json:
        """Parse a body; None if the route takes other bodies too and this is one."""
        wanted = not call.route.generic and call.route.operation not in FREE_FORM
        if not content and (not wanted or _may_be_empty(call)):
            return None
        if not wanted:
            if "json" not in media_type and content.lstrip()[:1] not in (b"{", b"["):
                call.gap("not_json", len(content))
                return None
            try:
                return jsongate.parse(content, self._bounds.json)
            except BadJson as error:
                if error.reason is not Reason.INVALID:
                    raise  # it is JSON, and not one that can be judged
                call.gap("bad_json", len(content))
                return None
        return jsongate.parse(content, self._bounds.json)

    def understand(self, call: Call, body: Json) -> None:
        """Learn what a request says. Raises: TooManyCredentials."""
        if call.route.generic:
            self._reroute(call, body)
        view = call.view = call.dialect.request(body, call.route)
        session = call.known["session"] or view.conversation_hint
        call.thread = self._conversations.begin(call.known["tenant"], session, view)
        self.note_unread(call, view, body)
        call.know(
            model=(view.model or call.known["model"])[:MAX_NAME],
            stream=view.stream if call.route.stream is None else call.route.stream,
            session=session[:128],
            conversation=call.thread.conversation,
            parent_conversation=call.thread.parent,
            turn=call.thread.turn,
            media=tuple(view.media),
        )

    def note_unread(self, call: Call, view: RequestView, body: Json) -> None:
        """Account for what has no text to read; media that has some was read as parts."""
        read = {part.path for part in view.parts}
        for media in view.media:
            if media.mime == CREDENTIAL:
                call.credentials.add(value_at(body, media.path))
            elif media.path not in read:
                call.gap("media", media.size or 0, media.location)
        for unread in view.unread:
            call.gap(unread.reason, unread.size)

    def _reroute(self, call: Call, body: Json) -> None:
        """Look again with the body: an unknown path may speak a known dialect."""
        head = call.head
        headers = {name.lower(): value for name, value in reversed(head.headers)}
        target = target_of(head, headers)
        found = route(target, provider_hint=head.provider_hint, body=body, hosts=self._hosts)
        self._follow(call, found)

    def _follow(self, call: Call, found: Route) -> None:
        call.route = found
        call.dialect = dialect_named(found.dialect)
        call.know(provider=found.provider, dialect=found.dialect, operation=found.operation)


def _may_be_empty(call: Call) -> bool:
    """Whether a request asks for something without a body: ``POST …/responses/ID/cancel`` does."""
    asks = call.head.method in ("GET", "HEAD", "DELETE", "OPTIONS")
    return asks or call.route.operation == "retrieve"
