#!/bin/sh
# tests/package.sh [DIR] — the Debian package (tools/deb) installs, and a plugin is made, tested, tried and installed with what is in
# it, as docs/writing-a-plugin.md says. Changes this machine (root): installs the package, and removes it at the end. For CI.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$top/build-deb}
work=$(mktemp -d)
finish() {
    rm -f "$(pkg-config --variable=plugindir odto 2>/dev/null || echo /nowhere)/hello.so"
    DEBIAN_FRONTEND=noninteractive apt-get -q purge -y odto >/dev/null || :
    rm -rf "$work"
}
"$top/tools/deb" --yes "$out"
trap finish EXIT
trap 'exit 130' INT TERM
DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends --reinstall "$out"/odto_*.deb
cd "$work"
odto-host --version
odto-host -c /etc/odto/odto.ini --check
plugin-new hello
cd hello
make
make test
make check
make try
make install
printf '[host]\ndata_dir = %s\n[handler hello]\ntypes = hello\n' "$work" >"$work/hello.ini"
odto-host -c "$work/hello.ini" --check
echo '{}' >"$work/empty.json"
if odto contracts validate --schema /usr/share/odto/schemas/job.json "$work/empty.json"; then
    echo "an empty job is valid?" >&2
    exit 1
fi
echo "ok: the package installs, and makes a plugin"
