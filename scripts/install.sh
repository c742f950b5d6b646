#!/bin/sh
# Installs what is staged: install.sh STAGED PREFIX [DESTDIR]. With DESTDIR, for a package, the host is left alone.
set -eu
staged=$1 prefix=$2 destdir=${3-}
to=$destdir$prefix
units=$(dirname "$0")/../dist/systemd

install -D "$staged/bin/casemate" "$to/bin/casemate"
install -d "$to/lib/casemate" "$to/lib/systemd/system" "$to/share/man/man1"
for file in "$staged"/lib/casemate/*; do
    mode=0644
    [ ! -x "$file" ] || mode=0755
    install -m $mode "$file" "$to/lib/casemate/"
done
for unit in casemate.service casemate.socket; do
    sed "s|@PREFIX@|$prefix|g" "$units/$unit" >"$to/lib/systemd/system/$unit"
done
"$staged/bin/casemate" man "$to/share/man/man1"
completion() {
    install -d "$to/$(dirname "$2")"
    "$staged/bin/casemate" completion "$1" >"$to/$2"
}
completion bash share/bash-completion/completions/casemate
completion zsh share/zsh/site-functions/_casemate
completion fish share/fish/vendor_completions.d/casemate.fish

[ -z "$destdir" ] || exit 0
getent group casemate >/dev/null || groupadd --system casemate
[ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "Installed. To have it serve, now and after each boot: systemctl enable --now casemate.socket casemate.service"
