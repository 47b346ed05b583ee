"""Identifiers. A trace id is a UUIDv7 (RFC 9562 §5.7), so ids sort by time."""

import uuid_utils


def new_trace_id() -> str:
    """Return a new id in the canonical form of 36 characters."""
    return str(uuid_utils.uuid7())
