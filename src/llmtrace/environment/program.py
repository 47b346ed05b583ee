"""What this program is called where somebody types it."""

import shutil
from pathlib import Path


def program() -> str:
    """Return what a person types to run this program again, from where they are now."""
    script = Path(__file__).resolve().parents[3] / "scripts" / "llmtrace"
    if shutil.which("llmtrace") or not script.is_file():
        return "llmtrace"
    here = Path.cwd()
    return f"./{script.relative_to(here)}" if script.is_relative_to(here) else str(script)
