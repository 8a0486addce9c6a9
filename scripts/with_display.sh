#!/usr/bin/env bash
# Run a command on a display: the one at hand, or on Linux without one a virtual one.
#
#   scripts/with_display.sh 1280x800x24 COMMAND...
set -euo pipefail

screen=$1
shift
if [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec xvfb-run -a -s "-screen 0 $screen" "$@"
fi
exec "$@"
