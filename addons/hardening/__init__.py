"""Bounds on what a peer can make mitmproxy hold or do, kept in layers of ours."""

from llmtrace.addons.hardening.guards import BodyLimit, Guards, Relayed, unread
from llmtrace.addons.hardening.install import check_version, hardened

__all__ = ["BodyLimit", "Guards", "Relayed", "check_version", "hardened", "unread"]
