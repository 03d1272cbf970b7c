# common.sh — shared by tools/demo, tools/test and .ci/run: find the tree, install what is missing, build. POSIX sh; sourced.
# shellcheck shell=sh

ODTO_TREE=$(cd "$(dirname "$0")/.." && pwd)
: "${ODTO_BUILD:=$ODTO_TREE/build}"
ODTO_YES=${ODTO_YES:-no}

# what etc/odto.ini needs: one host, embedded, with the terminal in the browser
PACKAGES_BUILD="build-essential autoconf automake libtool autoconf-archive pkg-config
 libjson-c-dev libmicrohttpd-dev libsqlite3-dev libinih-dev libcurl4-openssl-dev libpcre2-dev nettle-dev libelf-dev
 libnng-dev libwebsockets-dev libev-dev libncurses-dev libvterm-dev"
PACKAGES_DRIVERS="libpq-dev libhiredis-dev libssl-dev libmongoc-dev librabbitmq-dev"
PACKAGES_TEST="check python3 curl prometheus procps util-linux"
# what the tests of the cluster, the page and the terminal talk to; without them those tests skip
PACKAGES_SERVERS="postgresql-15 redis-server rabbitmq-server prometheus-alertmanager chromium
 python3-mongomock python3-bson python3-pika python3-psycopg2 python3-yaml openssl tmux iproute2 htop less nano mc"

# what builds the page of the web plugin. Node.js may be there from elsewhere; Debian's npm would not fit beside it.
PACKAGES_PAGE=
command -v npm >/dev/null || PACKAGES_PAGE="nodejs npm"
PACKAGES_SERVERS="$PACKAGES_SERVERS $PACKAGES_PAGE"

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# The names of those packages that are not installed.
missing_packages() {
    for p in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || printf '%s ' "$p"
    done
}

ask() {
    [ "$ODTO_YES" = yes ] && return 0
    [ -t 0 ] || die "$1 Run it again with --yes to agree."
    printf '%s [Y/n] ' "$1"
    read -r answer
    case $answer in [nN]*) return 1 ;; *) return 0 ;; esac
}

# install PACKAGE…: asks first, unless --yes was given.
install_packages() {
    command -v dpkg-query >/dev/null || {
        say "This system has no dpkg: the libraries that ./configure names must be there already."
        return 0
    }
    # shellcheck disable=SC2046,SC2086
    missing=$(missing_packages $*)
    [ -n "$missing" ] || return 0
    ask "These Debian packages are missing: $missing
Install them now (apt-get install)?" || die "they are needed: apt-get install $missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    # shellcheck disable=SC2086
    run_step "install packages" apt_install $missing
}

# With the lists that are there; with new ones where these are missing or too old.
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get -q install -y --no-install-recommends "$@" ||
        { $sudo apt-get -q update && $sudo apt-get -q install -y --no-install-recommends "$@"; }
}

# run NAME COMMAND…: quiet, timed; on failure the end of its output.
run_step() {
    name=$1
    shift
    printf '  %-28s' "$name"
    begin=$(date +%s)
    if "$@" >"$ODTO_LOG" 2>&1; then
        say "ok ($(($(date +%s) - begin)) s)"
    else
        say "failed"
        tail -n 40 "$ODTO_LOG" >&2
        die "$name failed; the whole output is in $ODTO_LOG"
    fi
}

jobs_count() {
    getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2
}

# Whether something that the last configure left out can be built now: what it named as missing was installed since.
more_can_be_built() {
    sed -n 's/^    .* is missing (Debian: \(.*\))$/\1/p' config.log | {
        while read -r packages; do
            # shellcheck disable=SC2086
            [ -n "$(missing_packages $packages)" ] || exit 0
        done
        exit 1
    }
}

# build [CONFIGURE-OPTION…] in $ODTO_BUILD; only what is out of date.
build_tree() {
    [ -x "$ODTO_TREE/configure" ] && [ "$ODTO_TREE/configure" -nt "$ODTO_TREE/configure.ac" ] ||
        run_step "autogen" "$ODTO_TREE/autogen.sh"
    mkdir -p "$ODTO_BUILD"
    cd "$ODTO_BUILD" || exit 1
    if [ ! -f Makefile ] || [ "$ODTO_TREE/configure" -nt Makefile ]; then
        run_step "configure" "$ODTO_TREE/configure" "$@"
    elif more_can_be_built; then
        run_step "configure with what is new" sh -c './config.status --recheck && ./config.status'
    fi
    run_step "make" make -j"$(jobs_count)"
}

parse_yes() {
    for a in "$@"; do
        case $a in --yes | -y) ODTO_YES=yes ;; esac
    done
}

ODTO_LOG=${ODTO_LOG:-${TMPDIR:-/tmp}/odto-$(basename "$0").$$.log}
