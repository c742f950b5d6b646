#!/bin/sh
# Makes the built-in image: build.sh OUT.tar
#
# An OCI layout in a tar file, with the image busybox:latest of one layer made
# from Debian's busybox-static. The same package gives the same bytes: all times
# are the program's own, all owners are root's, and nothing is compressed, as
# compressors change their minds between versions.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 OUT.tar" >&2
    exit 2
fi
out=$1
busybox=/bin/busybox

fail() {
    echo "$0: $1" >&2
    exit 1
}

[ -x "$busybox" ] || fail "$busybox is missing: apt-get install busybox-static"
# The package busybox has the same path, but needs the C library.
if ldd "$busybox" >/dev/null 2>&1; then
    fail "$busybox is not static: apt-get install busybox-static"
fi
case $(uname -m) in
x86_64) architecture=amd64 ;;
aarch64) architecture=arm64 ;;
*) fail "no name is known for the architecture $(uname -m)" ;;
esac
time=$(stat -L -c %Y "$busybox")
created=$(date -u -d "@$time" +%Y-%m-%dT%H:%M:%SZ)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
root=$work/root
mkdir -p "$root"/bin "$root"/dev "$root"/etc "$root"/home "$root"/proc "$root"/root "$root"/sbin \
    "$root"/sys "$root"/tmp "$root"/usr/bin "$root"/usr/sbin "$root"/var
chmod 700 "$root/root"
chmod 1777 "$root/tmp"

# One file under many names, as in Docker's image of the same name.
cp -L "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
"$busybox" --list | while IFS= read -r applet; do
    case $applet in
    busybox) ;;
    *) ln "$root/bin/busybox" "$root/bin/$applet" ;;
    esac
done
# The path that scripts name in their first line.
ln "$root/bin/busybox" "$root/usr/bin/env"

cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
PASSWD
cat >"$root/etc/group" <<'GROUP'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
kmem:x:9:
wheel:x:10:root
www-data:x:33:
operator:x:37:
users:x:100:
nogroup:x:65534:
GROUP
cat >"$root/etc/nsswitch.conf" <<'NSSWITCH'
passwd: files
group: files
hosts: files dns
NSSWITCH

# Where every container has the engine's own files mounted: without these, each start would make them first.
: >"$root/etc/hosts"
: >"$root/etc/hostname"
: >"$root/etc/resolv.conf"

# pack DIRECTORY OUT: a tar file that depends on names, modes and content only.
pack() {
    tar --format=ustar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .
}

layout=$work/layout
blobs=$layout/blobs/sha256
mkdir -p "$blobs"

# keep FILE: moves it among the blobs and sets $digest and $size.
keep() {
    digest=$(sha256sum <"$1" | cut -d ' ' -f 1)
    size=$(stat -c %s "$1")
    mv "$1" "$blobs/$digest"
}

pack "$root" "$work/layer"
keep "$work/layer"
layer=$digest
layer_size=$size

printf '%s' '{"architecture":"'$architecture'","os":"linux","created":"'"$created"'",' \
    '"config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]},' \
    '"rootfs":{"type":"layers","diff_ids":["sha256:'"$layer"'"]},' \
    '"history":[{"created":"'"$created"'","created_by":"guest/busybox/build.sh"}]}' >"$work/config"
keep "$work/config"
config=$digest
config_size=$size

oci=application/vnd.oci.image
printf '%s' '{"schemaVersion":2,"mediaType":"'$oci'.manifest.v1+json",' \
    '"config":{"mediaType":"'$oci'.config.v1+json","digest":"sha256:'"$config"'","size":'"$config_size"'},' \
    '"layers":[{"mediaType":"'$oci'.layer.v1.tar","digest":"sha256:'"$layer"'","size":'"$layer_size"'}]}' \
    >"$work/manifest"
keep "$work/manifest"

printf '%s' '{"schemaVersion":2,"mediaType":"'$oci'.index.v1+json","manifests":[' \
    '{"mediaType":"'$oci'.manifest.v1+json","digest":"sha256:'"$digest"'","size":'"$size"',' \
    '"annotations":{"io.containerd.image.name":"docker.io/library/busybox:latest",' \
    '"org.opencontainers.image.ref.name":"latest"},' \
    '"platform":{"architecture":"'$architecture'","os":"linux"}}]}' >"$layout/index.json"
printf '%s' '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"

# Whoever looks for the file finds it whole or not at all.
pack "$layout" "$out.new"
mv "$out.new" "$out"
