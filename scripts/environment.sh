#!/usr/bin/env bash
# Make a virtual environment and install the project into it.
#
#   scripts/environment.sh FOLDER WHAT...     WHAT is handed to `pip install`
#
# Versions come from constraints.txt. torch goes first and alone, so that no looser
# request brings its CUDA packages to a machine without an NVIDIA GPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
constraints=$root/constraints.txt
cpu_index=https://download.pytorch.org/whl/cpu
folder=$1
shift

fail() {
    echo "$1" >&2
    exit 1
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1
}

find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "No Python 3.11 to 3.13 was found among: ${candidates[*]}. Install one, or name it with PYTHON=/path/to/python."
}

install_venv_package() {
    local python=$1 package
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y "$package"
    else
        fail "This Python cannot make virtual environments. Run this line, then try again:
    sudo apt-get install -y $package"
    fi
}

make_environment() {
    local python
    if [ -x "$folder/bin/python" ] && supported "$folder/bin/python" &&
        "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_package "$python"
    "$python" -m venv --clear "$folder"
}

answers() { # does the index answer within three seconds?
    timeout 3 "$folder/bin/python" -c \
        'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=3)' \
        "$1/torch/" >/dev/null 2>&1
}

has_nvidia_gpu() {
    command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1
}

install() {
    "$folder/bin/python" -m pip install --disable-pip-version-check \
        --constraint "$constraints" "$@"
}

torch_index=()
make_environment
if [ "$(uname -s)" = Linux ] && ! has_nvidia_gpu && answers "$cpu_index"; then
    torch_index=(--extra-index-url "$cpu_index")
fi
install "$(grep '^torch==' "$constraints")" ${torch_index[@]+"${torch_index[@]}"}
install "$@"
