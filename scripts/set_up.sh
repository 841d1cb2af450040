#!/bin/sh
# Set up a virtual environment with the package and its tools: set_up.sh VENV
#
# As root on Debian or Ubuntu, missing system libraries are installed as well;
# as anybody else, they are named if they are missing.
set -eu

venv=$1
python=${PYTHON:-python3}

# Libraries that Qt's wheels expect of the system, and a screen to test on.
packages="libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libdbus-1-3
libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0
libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0
libxcb-xkb1 xvfb xauth"

is_root() {
    [ "$(id -u)" -eq 0 ]
}

has_apt() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1
}

is_installed() {
    # Debian 13 renamed some packages to NAMEt64.
    for name in "$1" "${1}t64"; do
        status=$(dpkg-query -W -f='${Status}' "$name" 2>/dev/null || true)
        [ "$status" = "install ok installed" ] && return 0
    done
    return 1
}

apt_install() {
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

install_system_packages() {
    has_apt || return 0
    missing=""
    for package in $packages; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if is_root; then
        # shellcheck disable=SC2086  # one argument a package
        apt_install $missing
    else
        echo "These system packages are missing; napari needs them:$missing" >&2
    fi
}

make_venv() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "Python 3.11 or later is needed, not $("$python" --version 2>&1)." >&2
        echo "Name one with: make PYTHON=/path/to/python3.11" >&2
        exit 1
    }
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if is_root && has_apt; then
            apt_install "python$version-venv"
        else
            echo "Python's venv module is missing: install the package python$version-venv." >&2
            exit 1
        fi
    fi
    "$python" -m venv --clear "$venv"
}

install_system_packages
make_venv
"$venv/bin/python" -m pip install --disable-pip-version-check -q -e ".[all,slides,dev]"
