# shellcheck shell=bash
# Sourced by the scripts beside it, which then run in an environment of their own: `python` is
# that of .venv-NAME, and this tree is not on its path, so `import blobread` is what was installed.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
unset PYTHONPATH PYTHONHOME
export PYTHONSAFEPATH=1
export PIP_DISABLE_PIP_VERSION_CHECK=1

find_python() {
    local name
    # The launchers of pyenv and Windows are on PATH without a Python behind them: try each.
    for name in ${PYTHON:+"$PYTHON"} python3 python python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "no Python of at least 3.11 was found; name one in the variable PYTHON" >&2
    return 1
}

# make_environment NAME PIP-ARGUMENT...: made anew only when what it is made of has changed.
make_environment() {
    local python made_of
    environment=$PWD/.venv-$1
    shift
    python=$(find_python)
    made_of="$("$python" -VV) $* $(cksum <pyproject.toml)"
    if [ "$(cat "$environment/made_of" 2>/dev/null)" != "$made_of" ]; then
        echo "making $environment with $("$python" -V)" >&2
        rm -rf "$environment"
        "$python" -m venv "$environment"
    fi
    # Windows has Scripts where others have bin.
    PATH=$environment/bin:$environment/Scripts:$PATH
    if [ ! -e "$environment/made_of" ]; then
        python -m pip install -qq --upgrade pip
        python -m pip install -qq "$@"
        echo "$made_of" >"$environment/made_of"
    fi
}

# quietly COMMAND...: what it printed is shown only if it fails.
quietly() {
    local printed
    printed=$("$@" 2>&1) || {
        echo "$printed" >&2
        return 1
    }
}

# install_package [EXTRAS]: the wheel that a user would get, built from the sdist that one would.
install_package() {
    local wheel
    export BLOBREAD_DIST=$environment/dist
    rm -rf "$BLOBREAD_DIST"
    quietly python -m build --outdir "$BLOBREAD_DIST" || {
        echo "the build failed; it needs a C compiler and Python's headers" >&2
        return 1
    }
    wheel=$(echo "$BLOBREAD_DIST"/*.whl)
    python -m pip uninstall -qq --yes blobread 2>/dev/null
    python -m pip install -qq "$wheel${1:-}"
}
