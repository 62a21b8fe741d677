#!/usr/bin/env bash
# The service on a real systemd: boots one in a container of its own (systemd-nspawn, made of this machine's /usr, without
# network), and there installs the program, starts it, kills it, spoils its configuration, stops and uninstalls it.
# Nothing of this machine's own service manager is touched. The first argument is the program to test, the agent if empty.
# Exit codes: 0 shown, 1 failed, 77 skipped with the reason on the last line.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED: the service boot test: $*"; exit 77; }

[ "$(uname -s)" = Linux ] || skip "systemd is Linux only"
[ "$(id -u)" = 0 ] || skip "systemd-nspawn takes root"
if ! command -v systemd-nspawn >/dev/null; then
  command -v apt-get >/dev/null || skip "systemd-nspawn is not here and there is no apt-get to install it with"
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd-container) \
    </dev/null >/dev/null || skip "systemd-container could not be installed"
fi
systemd=
for file in /usr/lib/systemd/systemd /lib/systemd/systemd; do [ -x "$file" ] && systemd=$file && break; done
[ -n "$systemd" ] || skip "this machine has no systemd to boot"
unshare --mount true 2>/dev/null || skip "this machine does not let us make namespaces"

root=$(mktemp -d "${TMPDIR:-/tmp}/s3apu-boot.XXXXXX")
machine=$(basename "$root" | tr . -)
nspawn=
cleanup() {
  if [ -n "$nspawn" ] && kill -0 "$nspawn" 2>/dev/null; then
    kill -TERM "$nspawn" 2>/dev/null || true # nspawn asks the systemd inside to power off
    for _ in $(seq 50); do kill -0 "$nspawn" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$nspawn" 2>/dev/null || true
  fi
  rm -rf --one-file-system "$root"
  rmdir "/run/systemd/nspawn/propagate/$machine" 2>/dev/null || true
}
trap cleanup EXIT

# A root of its own over this machine's /usr, with no user but root: ours is made by install.
chmod 0755 "$root"
mkdir -p "$root"/{usr,proc,sys,dev,run,tmp,root,opt/bin,srv/in,var/lib,var/log,etc/systemd/system,etc/s3apu}
for dir in bin sbin lib lib64; do [ -e "/usr/$dir" ] && ln -s "usr/$dir" "$root/$dir"; done
: >"$root/etc/machine-id"
for file in os-release login.defs; do [ -e "/etc/$file" ] && cp -L "/etc/$file" "$root/etc/"; done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
printf 'root:*:19000:0:99999:7:::\n' >"$root/etc/shadow"
printf 'root:*::\n' >"$root/etc/gshadow"
chmod 0600 "$root/etc/shadow" "$root/etc/gshadow"

if [ -n "${1:-}" ]; then
  cp "$1" "$root/opt/bin/s3apu-agent"
else
  package=./cmd/s3apu-agent
  [ -d cmd/s3apu-agent ] || package=./service/testdata/bootmain
  echo "testing $package"
  CGO_ENABLED=0 go build -o "$root/opt/bin/s3apu-agent" "$package"
fi

# An endpoint that refuses connections: the agent must be ready all the same, and go on trying.
cat >"$root/etc/s3apu/good.toml" <<'TOML'
state_dir = "/var/lib/s3apu"
[s3]
bucket = "boot-test"
region = "us-east-1"
endpoint = "http://127.0.0.1:9"
path_style = true
access_key_id = "boot"
secret_access_key = "boot-test-only"
[[folder]]
path = "/srv/in"
TOML
echo 'bad = "no such key"' >"$root/etc/s3apu/bad.toml"
chmod 0600 "$root"/etc/s3apu/*.toml

cp .ci/service-inside.sh "$root/opt/inside.sh"
cat >"$root/etc/systemd/system/boot-test.service" <<'UNIT'
[Unit]
After=dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /opt/inside.sh
ExecStopPost=/bin/systemctl poweroff --force --no-block
StandardOutput=file:/opt/report
StandardError=file:/opt/report
TimeoutStartSec=120
UNIT

systemd-nspawn --quiet --boot --directory="$root" --machine="$machine" --register=no --keep-unit --private-network \
  --bind-ro=/usr --console=pipe systemd.unit=boot-test.service systemd.show_status=no </dev/null >"$root/opt/console" 2>&1 &
nspawn=$!
for _ in $(seq 1500); do kill -0 "$nspawn" 2>/dev/null || break; sleep 0.1; done # at most 150 s
if kill -0 "$nspawn" 2>/dev/null; then
  echo "the container did not end within 150 s; its console:"
  tail -n 40 "$root/opt/console"
  exit 1
fi
wait "$nspawn" || true
nspawn=

if [ ! -s "$root/opt/report" ]; then
  echo "the container did not get as far as the test; its console:"
  tail -n 40 "$root/opt/console"
  exit 1
fi
cat "$root/opt/report"
tail -n 1 "$root/opt/report" | grep -qx 'PASS: the service boot test'
