"""All sections. ``config.example.yaml`` and ``docs/configuration.md`` are rendered from here."""

import itertools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from llmtrace.config.auth import AuthConfig, ResigningConfig
from llmtrace.config.detection import (
    PiiConfig,
    PolicyConfig,
    SecurityAnalysisConfig,
    StreamingAnalysisConfig,
)
from llmtrace.config.limits import CostCapsConfig, RateLimitingConfig, RunawayConfig
from llmtrace.config.ml import MlConfig
from llmtrace.config.prices import CostConfig
from llmtrace.config.section import ListenAddress, Network, Section, clash, is_url, place_of

KIB = 1024
MIB = 1024 * KIB

type Count = Annotated[int, Field(ge=1)]
type Bytes = Annotated[int, Field(ge=1 * KIB, le=2**40)]
type Seconds = Annotated[float, Field(gt=0, le=86_400)]


class InterceptConfig(Section):
    """Which hosts are read (``intercept``). All known providers are, without any entry here."""

    hosts: dict[str, str] = {}
    """More hosts to read: a name, ``*.suffix`` or ``host:port`` → the provider that answers
    there (``openai``, ``ollama``, ``vllm``, …). For self-hosted models and private mirrors."""

    exclude: list[str] = []
    """Hosts never to read, though they are known: a name or ``*.suffix``. They are tunnelled
    unread (or refused, with ``egress: deny``) and counted."""


class ReverseConfig(Section):
    """Base-URL mode, for clients that ignore proxies (``reverse``)."""

    listen: ListenAddress | None = "127.0.0.1:8643"
    """Where base-URL clients connect; ``null`` turns the mode off."""


class ApiConfig(Section):
    """The gateway's own HTTP interface (``api``)."""

    listen: ListenAddress = "127.0.0.1:8644"
    """Where ``GET /health`` answers. Never reachable through the proxy itself."""


class IdentityConfig(Section):
    """Whose word counts about who is calling (``identity``)."""

    trusted_proxies: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Peers whose ``X-LLMTrace-Tenant-ID`` and ``X-LLMTrace-Agent-ID`` are believed."""


class LimitsConfig(Section):
    """Bounds on what one peer can make the gateway hold or do (``limits``)."""

    head_bytes: Bytes = 64 * KIB
    """Longest request head. Longer ones are refused with 431."""

    header_count: Count = 200
    """Most header lines in a request. More are refused with 431."""

    head_seconds: Seconds = 10
    """Longest time that a client may take for a request head; then 408."""

    body_seconds: Seconds = 30
    """Time that a client has for a request body, before ``body_bytes_per_second`` counts."""

    body_bytes_per_second: Annotated[int, Field(ge=1)] = KIB
    """Slowest rate at which a body may come after ``body_seconds``; slower ones get 408."""

    body_bytes: Bytes = 20 * MIB
    """Longest request body on the wire. Longer ones are refused with 413."""

    upload_bytes: Bytes = 512 * MIB
    """Longest body on file-upload routes, which pass unread and are counted as such. Files of
    models for Ollama (``/api/blobs``) pass so at any length."""

    decoded_bytes: Bytes = 64 * MIB
    """Longest request body after content decoding; then 413."""

    decoded_ratio: Annotated[int, Field(ge=2)] = 100
    """Highest ratio of decoded to encoded size, past the first mebibyte; then 413."""

    json_depth: Annotated[int, Field(ge=8, le=1000)] = 128
    """Deepest nesting of a JSON body; then 400."""

    json_nodes: Count = 1_000_000
    """Most values in a JSON body; then 400."""

    json_string_length: Annotated[int, Field(ge=1024)] = 16 * MIB
    """Most characters of a string in a JSON body; then 400."""

    json_number_length: Annotated[int, Field(ge=20)] = 1000
    """Most characters of a number in a JSON body; then 400."""

    connections: Count = 4096
    """Most client connections of a worker at once; more are closed."""

    connections_per_client: Count = 256
    """Most connections of one client address at once; more are closed."""

    h2_streams: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most concurrent HTTP/2 streams of one connection."""

    h2_resets_per_minute: Count = 100
    """Most streams that a client may reset in a minute; then its connection is closed."""

    pipelined_bytes: Bytes = 256 * KIB
    """Most bytes that a client may send ahead of a pending request; then it is closed."""

    frame_bytes: Bytes = 4 * MIB
    """Longest event of a stream that is read. A longer one passes and counts as unread; with
    ``mode: enforce`` it ends the stream."""

    answer_bytes: Bytes = 32 * MIB
    """Most of an answer that is read and kept. The rest passes and counts as unread; with
    ``mode: enforce`` a longer answer is refused."""

    websocket_message_bytes: Bytes = 4 * MIB
    """Longest WebSocket message; a longer one closes the connection with 1009."""

    upstream_idle_seconds: Seconds = 600
    """Longest silence of a provider; then 504."""


class ShutdownConfig(Section):
    """How the gateway stops (``shutdown``)."""

    timeout_seconds: Seconds = 30
    """Time that running calls have to finish after SIGTERM."""


class StorageConfig(Section):
    """Where traces are kept (``storage``)."""

    profile: Literal["lite", "memory"] = "lite"
    """``lite`` keeps traces in one SQLite file; ``memory`` forgets them when the gateway ends."""

    database_path: Path | None = None
    """The SQLite file. Default: ``llmtrace.db`` in the home folder."""

    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """Traces older than this are deleted, hourly; 0 keeps them for ever."""

    bodies: bool = True
    """Whether prompts, answers and the arguments of tool calls are kept, or their numbers alone."""

    redis_url: SecretStr | None = None
    """The Redis that keeps budgets and rates for gateways on several hosts, such as
    ``redis://:PASSWORD@redis.example.com:6379/0``; it must not evict keys. Default: a file beside
    the traces, for the gateways of one host."""

    cache_url: SecretStr | None = None
    """The Redis in which workers share what they found in texts, so that what one has read no
    other reads again: encrypted, for gateways whose homes have the same ``secret``. It is to have
    a ``maxmemory`` and ``maxmemory-policy allkeys-lru``, so it is another than ``redis_url``.
    Default: each worker remembers by itself."""

    @field_validator("redis_url", "cache_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "unix://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError(f"no URL of a Redis; expected {', '.join(schemes)} and its address")
        return value

    @model_validator(mode="after")
    def _two_of_them(self) -> "StorageConfig":
        urls = (self.redis_url, self.cache_url)
        places = [place_of(url.get_secret_value()) for url in urls if url is not None]
        if len(places) == 2 and places[0] == places[1]:
            raise ValueError(
                "cache_url and redis_url are one Redis, whatever the database: the cache would "
                "fill it, and budgets may not be evicted; name two, or leave cache_url out"
            )
        return self


class SpoolConfig(Section):
    """The journal that makes an acknowledged call a recorded one (``spool``)."""

    directory: Path | None = None
    """Where the journal lies. Default: ``spool`` in the home folder."""

    durability: Literal["process", "strict"] = "process"
    """``process`` survives the death of any gateway process; ``strict`` a power cut too, and
    waits for the disk once per call."""

    fsync_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 100
    """What a power cut can cost at most with ``durability: process``, in milliseconds."""

    segment_bytes: Annotated[int, Field(ge=64 * KIB, le=2**32)] = 64 * MIB
    """Size of one journal file."""

    max_bytes: Annotated[int, Field(ge=MIB, le=2**44)] = 2048 * MIB
    """Most that the journal may hold while the store is away."""

    min_free_bytes: Annotated[int, Field(ge=0, le=2**44)] = 512 * MIB
    """Free space that is left on the disk; less counts as full."""

    on_full: Literal["block", "drop_payload", "drop_new"] = "block"
    """What happens when the journal is full. ``drop_payload`` keeps the numbers and loses the
    bodies; ``drop_new`` loses whole traces. Both are counted."""


class AuditConfig(Section):
    """What happens to a call that cannot be recorded (``audit``)."""

    mode: Literal["block", "continue"] = "block"
    """``block`` refuses it with 503 before the provider is asked; ``continue`` lets it pass
    unrecorded, and counts it."""


class LoggingConfig(Section):
    """What the gateway says of itself (``logging``). Never a prompt, never a key."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe event that is logged."""

    format: Literal["text", "json"] = "text"
    """``json`` writes one object a line."""


class CaConfig(Section):
    """The certificate authority that clients are to trust (``ca``)."""

    validity_days: Annotated[int, Field(ge=1, le=825)] = 90
    """Life of a new pair of root and intermediate."""


class Config(Section):
    """The whole configuration."""

    listen: ListenAddress = "127.0.0.1:8642"
    """Where the forward proxy listens: what ``HTTPS_PROXY`` names. Loopback by default; on
    another address anyone who reaches it can use it."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Worker processes; 0 means one per core."""

    mode: Literal["observe", "enforce"] = "observe"
    """``observe`` reads and records, and changes nothing: traces say what the policy would have
    done. ``enforce`` does it."""

    on_error: Literal["block", "allow"] = "block"
    """What becomes of a call that a fault of the gateway's own keeps from being read or judged:
    refused, or let through unread. ``allow`` fails open. Both are counted."""

    egress: Literal["tunnel", "deny"] = "tunnel"
    """What becomes of hosts that are not read: tunnelled untouched, or refused with 403."""

    upstreams: dict[str, str] = {}
    """Host → base URL where it is really reached: mirrors, relays, tests."""

    upstream_ca: Path | None = None
    """PEM file with more roots that the gateway trusts when it connects to providers."""

    upstream_proxy: SecretStr | None = None
    """``http://[user:password@]host:port`` of a proxy that the gateway itself must use."""

    intercept: InterceptConfig = InterceptConfig()
    reverse: ReverseConfig = ReverseConfig()
    api: ApiConfig = ApiConfig()
    identity: IdentityConfig = IdentityConfig()
    auth: AuthConfig = AuthConfig()
    resigning: ResigningConfig = ResigningConfig()
    policy: PolicyConfig = PolicyConfig()
    security_analysis: SecurityAnalysisConfig = SecurityAnalysisConfig()
    ml: MlConfig = MlConfig()
    pii: PiiConfig = PiiConfig()
    streaming_analysis: StreamingAnalysisConfig = StreamingAnalysisConfig()
    limits: LimitsConfig = LimitsConfig()
    shutdown: ShutdownConfig = ShutdownConfig()
    storage: StorageConfig = StorageConfig()
    spool: SpoolConfig = SpoolConfig()
    audit: AuditConfig = AuditConfig()
    cost_estimation: CostConfig = CostConfig()
    cost_caps: CostCapsConfig = CostCapsConfig()
    rate_limiting: RateLimitingConfig = RateLimitingConfig()
    runaway: RunawayConfig = RunawayConfig()
    logging: LoggingConfig = LoggingConfig()
    ca: CaConfig = CaConfig()

    @field_validator("upstreams")
    @classmethod
    def _base_urls(cls, value: dict[str, str]) -> dict[str, str]:
        for host, url in value.items():
            if not is_url(url, plain=True):
                raise ValueError(
                    f"{host!r}: not a base URL such as https://host:port/path; it has no user "
                    "name, no query and no fragment"
                )
        return value

    @field_validator("upstream_proxy")
    @classmethod
    def _proxy_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_url(value.get_secret_value()):
            raise ValueError(
                "not a proxy URL, such as http://host:3128 or http://user:password@host:3128; "
                "write /, @, : and # in a password as %2F, %40, %3A and %23"
            )
        return value

    @model_validator(mode="after")
    def _distinct_addresses(self) -> "Config":
        named = {"listen": self.listen, "api.listen": self.api.listen}
        if self.reverse.listen:
            named["reverse.listen"] = self.reverse.listen
        for (key, text), (other, its) in itertools.combinations(named.items(), 2):
            if clash(text, its):
                raise ValueError(f"{key} is {text} and {other} is {its}; give each its own port")
        return self
