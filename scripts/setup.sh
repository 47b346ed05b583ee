# Sourced by the other scripts: makes .venv from the lock if it is not there or not up to date.
# Needs a Python of at least 3.12 with pip or venv, and a package index; nothing else.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

say() { printf 'llmtrace set-up: %s\n' "$*" >&2; }

suits() {  # PYTHON: is it new enough, and whole?
    "$1" -c 'import sys, ssl, sqlite3, venv; sys.exit(not (3, 12) <= sys.version_info[:2])' 2>/dev/null
}

candidates() {
    [ -n "${LLMTRACE_PYTHON:-}" ] && printf '%s\n' "$LLMTRACE_PYTHON"
    local minor own
    own=$(eval "printf '%s' ~$(id -un 2>/dev/null)")  # where HOME points elsewhere: sudo, build services
    for minor in 13 12 14; do
        command -v "python3.$minor" || true
        ls -1d "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python \
            "$own/.pyenv/versions/3.$minor".*/bin/python 2>/dev/null | sort -rV
        ls -1 "/opt/homebrew/bin/python3.$minor" "/usr/local/bin/python3.$minor" 2>/dev/null || true
        ls -1d "$HOME/.local/share/uv/python/cpython-3.$minor".*/bin/python3 2>/dev/null | sort -rV
    done
    command -v python3 || true
}

find_python() {
    local python
    while IFS= read -r python; do
        if suits "$python"; then printf '%s\n' "$python"; return 0; fi
    done < <(candidates)
    return 1
}

fetch_python() {  # through uv, where it may download one
    [ "${UV_PYTHON_DOWNLOADS:-}" = never ] && return 1
    local uv
    uv=$(command -v uv || true)
    if [ -z "$uv" ]; then
        local tools="$root/.venv-uv"
        python3 -m venv "$tools" >/dev/null 2>&1 && "$tools/bin/pip" install --quiet uv || return 1
        uv="$tools/bin/uv"
    fi
    say "no Python >= 3.12 found; fetching 3.13 with uv"
    "$uv" python install --quiet 3.13 && "$uv" python find 3.13
}

make_venv() {  # PYTHON
    rm -rf "$venv"
    "$1" -m venv "$venv" >/dev/null 2>&1 && return 0
    # Debian's python3 without python3-venv has no ensurepip: take pip from outside.
    "$1" -m venv --without-pip "$venv" && return 0
    return 1
}

install() {  # LOCK
    local pip=("$venv/bin/python" -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || pip=(python3 -m pip --python "$venv/bin/python")
    PIP_DISABLE_PIP_VERSION_CHECK=1 "${pip[@]}" install --quiet --require-hashes -r "$root/$1"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "${pip[@]}" install --quiet --no-deps --no-build-isolation -e "$root"
}

set_up() {  # LOCK: requirements.lock or requirements-dev.lock
    local lock=$1 stamp want have python
    stamp="$venv/.llmtrace-$lock"
    want=$(cat "$root/$lock" "$root/pyproject.toml" | cksum)
    have=$(cat "$stamp" 2>/dev/null || true)
    if [ "$want" = "$have" ] && "$venv/bin/python" -c 'import llmtrace' 2>/dev/null; then return 0; fi
    if ! "$venv/bin/python" -c 'import sys' 2>/dev/null; then
        python=$(find_python) || python=$(fetch_python) || {
            say "LLMTrace needs Python 3.12 or newer; none was found, and none could be fetched."
            say "Install one (apt install python3.13, brew install python@3.13, pyenv install 3.13)"
            say "or name it: LLMTRACE_PYTHON=/path/to/python3.13 $0"
            exit 1
        }
        say "making .venv with $("$python" --version) ($python)"
        make_venv "$python"
    fi
    say "installing pinned dependencies ($lock); this takes half a minute the first time"
    install "$lock"
    "$venv/bin/python" -m compileall -q "$root"/{src,addons,analyzers,certs,storage} || true
    printf '%s' "$want" > "$stamp"
    [ "$lock" = requirements-dev.lock ] && printf '%s' "$(cat "$root/requirements.lock" "$root/pyproject.toml" | cksum)" > "$venv/.llmtrace-requirements.lock"
    say "ready"
}
