"""Identifiers. A trace id is a UUIDv7 (RFC 9562 §5.7), so ids sort by time."""

import re
from typing import Final

import uuid_utils

DEFAULT_TENANT: Final = "default"
"""Who pays where nothing says who does."""
NAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""A tenant, or an agent, as people name it."""


def new_trace_id() -> str:
    """Return a new id in the canonical form of 36 characters."""
    return str(uuid_utils.uuid7())
