import shutil
import subprocess
from collections.abc import Callable

import pytest
from click.testing import Result

type Run = Callable[..., Result]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert f"_LLMTRACE_COMPLETE={shell}_complete" in done.stdout


def test_bash_reads_its_script(run: Run) -> None:
    script = run("completion", "bash").stdout
    bash = shutil.which("bash") or "bash"
    done = subprocess.run(  # noqa: S603  our own words
        [bash, "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_and_options_are_completed(run: Run) -> None:
    def completed(words: str) -> set[str]:
        count = str(len(words.split(" ")) - 1)
        done = run(_LLMTRACE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert completed("llmtrace tr") == {"traces"}
    assert {"list", "show", "tail", "export"} <= completed("llmtrace traces ")
    assert completed("llmtrace traces list --outcome refu") == {"refused"}


def test_another_shell_is_exit_code_2(run: Run) -> None:
    assert run("completion", "tcsh").exit_code == 2
