#!/bin/sh
# Takes away what install.sh installed: uninstall.sh PREFIX [DESTDIR]. Images, containers, the configuration and the
# group stay.
set -eu
prefix=$1 destdir=${2-}
from=$destdir$prefix

if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now casemate.socket casemate.service || true
fi
rm -f "$from/bin/casemate" \
    "$from/lib/systemd/system/casemate.service" "$from/lib/systemd/system/casemate.socket" \
    "$from/share/man/man1/casemate.1" "$from/share/man/man1/"casemate-*.1 \
    "$from/share/bash-completion/completions/casemate" \
    "$from/share/zsh/site-functions/_casemate" \
    "$from/share/fish/vendor_completions.d/casemate.fish"
rm -rf "$from/lib/casemate"
[ -n "$destdir" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
