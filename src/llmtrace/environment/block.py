"""The one block of variables that puts a program behind the gateway.

Verified together, as one block, with the coding agents and SDKs of ``clients.yaml``: some
variables replace what a client trusts, some add to it, and no client minds those of another.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from llmtrace.environment.trust import REPLACING, Trust

PROXY: Final = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
UPSTREAM: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
DIRECT: Final = ("localhost", "127.0.0.1", "::1", "169.254.169.254")
"""Never through the proxy: this machine, and the metadata service of clouds."""


def environment_block(
    *,
    proxy_url: str,
    trust: Trust,
    existing: Mapping[str, str],
    run_id: str = "",
    token: str = "",
) -> dict[str, str]:
    """Return the variables to set, over ``existing`` and with what it has of them merged in.

    Args:
        proxy_url: ``http://host:port`` of the gateway.
        trust: The files of ``prepare_trust``.
        existing: The environment that the program would have otherwise.
        run_id: Whom the calls are attributed to: clients send it as the proxy's user name.
        token: Goes with it as the password.
    """
    proxy = with_user(proxy_url, run_id, token) if run_id else proxy_url
    direct = no_proxy(existing)
    block = dict.fromkeys(PROXY, proxy)
    block |= {"NO_PROXY": direct, "no_proxy": direct, "NODE_USE_ENV_PROXY": "1"}
    block |= {name: str(path) for name, path in trust.added.items()}
    block |= dict.fromkeys(REPLACING, str(trust.bundle))
    if trust.java:
        block["JAVA_TOOL_OPTIONS"] = _java_options(proxy_url, trust, existing, direct)
    if run_id:
        block["LLMTRACE_RUN_ID"] = run_id
    return block


def with_user(proxy_url: str, user: str, password: str) -> str:
    """Return the URL with user name and password in it."""
    parts = urlsplit(proxy_url)
    host = parts.netloc.rpartition("@")[2]
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{userinfo}@{host}"))


def no_proxy(existing: Mapping[str, str]) -> str:
    """Return what goes direct: this machine, and what the user excepted already."""
    own = existing.get("NO_PROXY") or existing.get("no_proxy") or ""
    entries = (entry.strip() for entry in own.split(","))
    return ",".join(dict.fromkeys([*DIRECT, *filter(None, entries)]))


def upstream_proxy(existing: Mapping[str, str], *, listen: str) -> str | None:
    """Return the proxy that the user needs to get out, for the gateway to go through.

    The gateway itself (``listen``, ``host:port``) is none: a run inside a run has it set. The
    URL may have a password in it, so it is never printed.
    """
    if existing.get("LLMTRACE_RUN_ID"):
        return None
    named = next((value for name in UPSTREAM if (value := existing.get(name))), "")
    url = named if "://" in named or not named else f"http://{named}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return None
    return url if usable and parts.netloc.rpartition("@")[2] != listen else None


def _java_options(proxy_url: str, trust: Trust, existing: Mapping[str, str], direct: str) -> str:
    """Return ``JAVA_TOOL_OPTIONS`` with ours at the end: the last of two equal ones counts."""
    parts = urlsplit(proxy_url)
    options = [
        f"-D{scheme}.proxy{key}={value}"
        for scheme in ("http", "https")
        for key, value in (("Host", parts.hostname), ("Port", parts.port or 80))
    ]
    own = existing.get("JAVA_TOOL_OPTIONS", "")
    if "-Dhttp.nonProxyHosts=" not in own:
        options.append(f"-Dhttp.nonProxyHosts={_java_hosts(direct)}")
    if trust.java:
        options.append(f"-Djavax.net.ssl.trustStore={trust.java.path}")
        options.append(f"-Djavax.net.ssl.trustStorePassword={trust.java.password}")
    return " ".join([own, *map(_java_word, options)]).strip()


def _java_word(option: str) -> str:
    """Quote as the JVM reads it: it knows quotes, and no escapes within them."""
    if not any(character.isspace() or character in "'\"" for character in option):
        return option
    return f'"{option}"' if '"' not in option else f"'{option}'"


def _java_hosts(direct: str) -> str:
    """Write a NO_PROXY as Java has it: joined by ``|``, with ``*`` for what comes before."""
    hosts = [entry for entry in direct.split(",") if "/" not in entry]
    return "|".join(f"*{host.lstrip('*')}" if host[:1] in ".*" else host for host in hosts)
