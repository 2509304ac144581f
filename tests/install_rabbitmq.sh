#!/bin/sh
# Unpacks the RabbitMQ of a Debian suite, with the Erlang it needs, into the tests' cache directory:
#
#     tests/install_rabbitmq.sh SUITE       bullseye 3.8, bookworm 3.10, trixie 4.0, forky 4.3
#
# It needs no root and no docker, and changes nothing outside of that directory, whose name is the last line
# it prints. A suite that is there already costs nothing. Environment:
#
#     AMQPLIB_TEST_CACHE      where to unpack (~/.cache/amqplib-tests)
#     AMQPLIB_TEST_MIRROR     the Debian archive to download from (the one that this machine's apt uses)
set -eu
exec </dev/null

fail() { printf 'install_rabbitmq.sh: %s\n' "$*" >&2; exit 1; }

suite=${1:-}
case $suite in
    '' | *[!a-z0-9-]*) fail 'usage: install_rabbitmq.sh SUITE, where SUITE is bullseye, bookworm, trixie or forky' ;;
esac
[ -n "${HOME:-}" ] || HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
cache=${AMQPLIB_TEST_CACHE:-$HOME/.cache/amqplib-tests}
mkdir -p "$cache" || fail "cannot make the directory $cache"
cache=$(cd "$cache" && pwd)         # the paths written into the installation have to be absolute
final=$cache/rabbitmq-$suite

# Everything is built under another name and renamed at the end, so what has this name is complete.
done_already() { [ -d "$final" ] && { echo "$final"; exit 0; }; return 0; }

done_already
for tool in apt-get apt-cache dpkg-deb flock; do
    command -v "$tool" >/dev/null || fail "there is no $tool here: this works on Debian and its relatives only"
done
exec 9>"$final.lock"
flock 9
done_already                        # by whoever held the lock

work=$final.partial
rm -rf "$work"                      # of a run that was killed: nobody else can be at it while we hold the lock
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
root=$work/root
mkdir -p "$root" "$work/debs" "$work/lists/partial" "$work/cache/archives/partial"

# --- download, with an apt state of our own: that of the machine stays as it is ----------------------------

archives() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "$@" 2>/dev/null | head -n 1
}
mirror=${AMQPLIB_TEST_MIRROR:-}
[ -n "$mirror" ] || mirror=$(archives 'Origin: Debian' 'Label: Debian')
if [ -z "$mirror" ]; then           # before the first apt-get update, an archive is known by its release only
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mirror=$(archives --no-release-info "Release: $codename")
fi
[ -n "$mirror" ] || fail "apt has no Debian archive among its sources: name one in AMQPLIB_TEST_MIRROR"

keys=/usr/share/keyrings/debian-archive-keyring
signed=
for file in "$keys.gpg" "$keys.pgp"; do
    [ ! -e "$file" ] || signed="[signed-by=$file]"
done
echo "deb $signed $mirror $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<EOF
Dir::State "$work"; Dir::State::Lists "$work/lists"; Dir::State::status "/dev/null"; Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::Retries "3";
// An archived suite is never signed anew, and the machine's hooks are about the machine's own packages.
Acquire::Check-Valid-Until "false";
#clear APT::Update::Pre-Invoke; #clear APT::Update::Post-Invoke; #clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
EOF

needs() {       # the packages that these need, one a line
    apt-cache -c "$work/apt.conf" depends --important "$@" 2>/dev/null |
        sed -n 's/^ *|\{0,1\}\(Pre\)\{0,1\}Depends: \([a-z][^ ]*\)$/\2/p' | sort -u
}
libraries() { grep -E '^(lib|zlib)' || true; }

echo "downloading the RabbitMQ of Debian $suite"
log=$work/apt.log
apt-get -c "$work/apt.conf" -qq update >"$log" 2>&1 && ! grep -q '^[EW]: Failed' "$log" ||
    { cat "$log" >&2; fail "apt-get could not read the package lists of $suite from $mirror"; }
erlang=$(needs --recurse rabbitmq-server | grep '^erlang-' | grep -v -e '-hipe$' || true)
[ -n "$erlang" ] || fail "$mirror has no RabbitMQ in $suite"
# Erlang's C libraries come along, and theirs: the machine's own may be of another age. openssl makes the
# certificates of the tests where the machine has none.
direct=$(needs $erlang openssl | libraries)
all=$(printf '%s\n' rabbitmq-server openssl $erlang $direct $(needs $direct | libraries) | sort -u)
(cd "$work/debs" && apt-get -c "$work/apt.conf" -qq download $all) >"$log" 2>&1 ||
    { cat "$log" >&2; fail "apt-get could not download the packages of $suite from $mirror"; }

# --- unpack ------------------------------------------------------------------------------------------------

mkdir "$work/libc"
for deb in "$work"/debs/*.deb; do
    case ${deb##*/} in libc6_*) into=$work/libc ;; *) into=$root ;; esac
    dpkg-deb -x "$deb" "$into" || fail "could not unpack ${deb##*/} (is the disk full?)"
done
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"

# Every program is started by the loader of its own suite, so that no chroot is needed. A loader that lacks
# --argv0 (before glibc 2.33) is too old for that, but then its programs run on the machine's newer one.
loader=$(cd "$work/libc" && find . -name 'ld-linux*' -path '*-linux-gnu*' | head -n 1)
loader=${loader#./}
triplet=$(basename "$(dirname "$loader")")
if "$work/libc/$loader" --help 2>/dev/null | grep -q -e --argv0; then
    cp -a "$work/libc/." "$root"
    loader=$final/$loader
else
    loader=/$loader
fi
for file in "$root"/usr/lib/erlang/erts-*/bin/* "$root"/usr/lib/erlang/bin/* "$root"/usr/lib/erlang/lib/os_mon-*/priv/bin/* \
    "$root/usr/bin/openssl"; do
    [ -f "$file" ] && [ ! -L "$file" ] && [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
    mv "$file" "$file.real"
    cat >"$file" <<EOF
#!/bin/sh
exec "$loader" --argv0 "\$0" --library-path "$final/usr/lib/$triplet:$final/lib/$triplet" "$final${file#"$root"}.real" "\$@"
EOF
    chmod 755 "$file"
done
sed -i \
    "s#ROOTDIR=\"\{0,1\}/usr/lib/erlang\"\{0,1\}#ROOTDIR=\"$final/usr/lib/erlang\"#" \
    "$root"/usr/lib/erlang/bin/erl "$root"/usr/lib/erlang/erts-*/bin/erl

mv "$root" "$final"
echo "$final"
