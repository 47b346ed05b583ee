"""What one client may ask of the gateway, and who is told when it asks for more."""

from collections.abc import Callable
from dataclasses import dataclass

type Count = Callable[[str], None]
"""Told the name of a limit each time it is met. Must not raise and must not wait."""


def discard(_limit: str) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a peer may make the gateway hold or do. Sizes in bytes, times in seconds.

    The defaults are those of the threat model. Every bound that is met is counted under the
    name of its field and answered as that field says.
    """

    connections_total: int = 4096
    """Open client connections; the next one is closed at once."""
    connections_per_ip: int = 256
    """The same for one client address."""
    head_bytes: int = 64 * 1024
    """A request's line and headers; answered 431."""
    header_count: int = 200
    """Headers in one request; answered 431."""
    head_seconds: float = 10.0
    """From the first byte of a head (or TLS greeting) to its last; answered 408 or closed."""
    body_seconds: float = 30.0
    """How long a body may take before ``body_bytes_per_second`` is asked of it."""
    body_bytes_per_second: int = 1024
    """Slower bodies are answered 408."""
    body_bytes: int = 20 * 1024 * 1024
    """A request's body on the wire; answered 413 without reading the rest."""
    pipelined_bytes: int = 256 * 1024
    """What a client may send ahead while its request is being served; the connection is closed."""
    h2_streams: int = 100
    """Concurrent HTTP/2 streams of one connection; a connection error."""
    h2_resets_per_minute: int = 100
    """Streams a client may cancel; answered GOAWAY ``ENHANCE_YOUR_CALM``."""
    h2_control_frames_per_minute: int = 6000
    """PING, SETTINGS, PRIORITY, unknown and empty frames; answered GOAWAY ``ENHANCE_YOUR_CALM``."""
    h2_unsent_bytes: int = 16 * 1024 * 1024
    """What may wait for one HTTP/2 client to open its window; the stream is reset."""
    response_head_bytes: int = 256 * 1024
    """A provider's status line and headers; answered 502."""
    interim_responses: int = 16
    """1xx answers before the real one; answered 502."""
    upstream_unsent_bytes: int = 20 * 1024 * 1024
    """What may wait for one HTTP/2 provider to open its windows; its client is read no further."""
    answer_bytes: int = 32 * 1024 * 1024
    """What is held of an answer that is judged whole; a longer one is refused unread."""
    upstream_connections: int = 100
    """Connections to one provider address for one client connection; more wait."""
    connect_seconds: float = 15.0
    """Until a provider's TCP connection stands, and as long again for its TLS; answered 502."""
    idle_seconds: int = 600
    """A connection without a byte either way is closed."""
