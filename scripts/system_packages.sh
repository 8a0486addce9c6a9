#!/usr/bin/env bash
# See to the system libraries that Qt and OpenGL need on Linux, and to a virtual
# display where there is no real one: installed when root, else named in one line.
set -euo pipefail

# library that must be loadable, and the Debian/Ubuntu package that brings it
libraries="
libdbus-1.so.3           libdbus-1-3
libEGL.so.1              libegl1
libEGL_mesa.so.0         libegl-mesa0
libfontconfig.so.1       libfontconfig1
libGL.so.1               libgl1
libGLX_mesa.so.0         libglx-mesa0
libgssapi_krb5.so.2      libgssapi-krb5-2
libglib-2.0.so.0         libglib2.0-0
libOpenGL.so.0           libopengl0
libX11-xcb.so.1          libx11-xcb1
libxcb-cursor.so.0       libxcb-cursor0
libxcb-icccm.so.4        libxcb-icccm4
libxcb-image.so.0        libxcb-image0
libxcb-keysyms.so.1      libxcb-keysyms1
libxcb-randr.so.0        libxcb-randr0
libxcb-render-util.so.0  libxcb-render-util0
libxcb-shape.so.0        libxcb-shape0
libxcb-shm.so.0          libxcb-shm0
libxcb-sync.so.1         libxcb-sync1
libxcb-xfixes.so.0       libxcb-xfixes0
libxcb-xkb.so.1          libxcb-xkb1
libxkbcommon.so.0        libxkbcommon0
libxkbcommon-x11.so.0    libxkbcommon-x11-0
"

[ "$(uname -s)" = Linux ] || exit 0

missing_libraries() {
    local known library package
    known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
    while read -r library package; do
        if [ -n "$library" ] && ! grep -qF "$library " <<<"$known"; then
            echo "$package"
        fi
    done <<<"$libraries"
}

missing_mesa_drivers() {
    compgen -G '/usr/lib*/dri/*_dri.so' >/dev/null ||
        compgen -G '/usr/lib/*/dri/*_dri.so' >/dev/null ||
        compgen -G '/usr/lib/*/libgallium-*.so' >/dev/null ||
        echo libgl1-mesa-dri
}

missing_virtual_display() {
    if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        command -v Xvfb >/dev/null && command -v xvfb-run >/dev/null || echo xvfb
        command -v xauth >/dev/null || echo xauth
    fi
}

mapfile -t missing < <(missing_libraries; missing_mesa_drivers; missing_virtual_display)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Install with this system's package manager what Debian calls: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "System libraries are missing. Run this line, then try again:" >&2
    echo "    sudo apt-get install -y ${missing[*]}" >&2
    exit 1
fi
apt-get update || echo "Going on with the package lists at hand." >&2
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
    install -y --no-install-recommends "${missing[@]}"
