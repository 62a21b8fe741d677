#!/usr/bin/env bash
# The part of service-test.sh that runs inside the container, under its systemd.
set -euo pipefail
agent=/opt/bin/s3apu-agent
config=/etc/s3apu/config.toml
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

began=$(date +%s%N)
step() { printf '%6d ms  %s\n' $((($(date +%s%N) - began) / 1000000)) "$*"; }
die() {
  step "FAIL: $*"
  systemctl status s3apu --no-pager -n 30 || true
  exit 1
}
ask() { "$agent" "$@" --config "$config"; }
state() { systemctl is-active s3apu.service || true; }
prop() { systemctl show s3apu.service -P "$1"; }
# until SECONDS COMMAND...: waits until it is true.
until_true() {
  local last=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@"; do
    [ "$(date +%s%N)" -lt "$last" ] || return 1
    sleep 0.05
  done
}
status_says() { ask status >/tmp/status 2>&1 || true; step "status: $(tr '\n' ' ' </tmp/status)"; grep -qi -- "$1" /tmp/status || die "status does not say \"$1\""; }

step "systemd $(systemctl --version | head -n 1)"
status_says 'not installed'

if ask install >/tmp/out 2>&1; then die "installed without a configuration"; fi
grep -q 's3apu-agent init' /tmp/out || die "no hint at init: $(cat /tmp/out)"
step "without a configuration: $(cat /tmp/out)"
if ask start >/tmp/out 2>&1; then die "started what is not installed"; fi
step "start before install: $(cat /tmp/out)"

cp -p /etc/s3apu/good.toml "$config"
ask install >/tmp/out 2>&1 || die "install: $(cat /tmp/out)"
sed 's/^/            /' /tmp/out
getent passwd s3apu >/dev/null || die "no system user"
[ "$(stat -c '%a %U %G' "$config")" = '640 root s3apu' ] || die "the configuration is $(stat -c '%a %U %G' "$config")"
[ "$(systemctl is-enabled s3apu)" = enabled ] || die "not enabled"
status_says 'not running'

ask start >/tmp/out 2>&1 || die "start: $(cat /tmp/out)"
[ "$(state)" = active ] || die "started, but $(state)"
pid=$(prop MainPID)
[ "$(stat -c %U "/proc/$pid")" = s3apu ] || die "it runs as $(stat -c %U "/proc/$pid")"
# The group reaches the socket in the state folder, nobody but the service the queue.
[ "$(stat -c '%a %U' /var/lib/s3apu)" = '750 s3apu' ] || die "the state folder is $(stat -c '%a %U' /var/lib/s3apu)"
[ ! -e /var/lib/s3apu/queue ] || [ "$(stat -c '%a' /var/lib/s3apu/queue)" = 700 ] || die "the queue is $(stat -c '%a %U' /var/lib/s3apu/queue)"
# Bit 28 is CAP_LEASE (capabilities(7)); it and nothing else is effective.
grep -Eq '^CapEff:[[:space:]]0000000010000000$' "/proc/$pid/status" || die "capabilities: $(grep Cap "/proc/$pid/status")"
grep -Eq '^NoNewPrivs:[[:space:]]1$' "/proc/$pid/status" || die "it may gain privileges"
# The container may not go above the limit of its host, so the unit is asked and not the process.
[ "$(prop LimitNOFILE)" = 65536 ] || die "LimitNOFILE is $(prop LimitNOFILE)"
status_says "pid $pid"

killed=$(date +%s%N)
kill -KILL "$pid"
# In one look: just after a kill it is active still, and its process gone already.
now() { systemctl show s3apu.service -p ActiveState -p MainPID -p NRestarts | sort | cut -d= -f2 | tr '\n' ' '; }
back() {
  read -r state after restarts <<<"$(now)"
  [ "$state" = active ] && [ "$after" != 0 ] && [ "$after" != "$pid" ] && [ "$restarts" = 1 ]
}
until_true 5 back || die "not back within 5 s after kill -9: $(now)"
step "kill -9 $pid: back as $after after $((($(date +%s%N) - killed) / 1000000)) ms"
[ "$(($(date +%s%N) - killed))" -lt 5000000000 ] || die "it took longer than 5 s"
status_says 'restarts: 1'

before=$(prop MainPID)
ask restart >/tmp/out 2>&1 || die "restart: $(cat /tmp/out)"
[ "$(state)" = active ] && [ "$(prop MainPID)" != "$before" ] || die "not restarted"
step "restart: $before became $(prop MainPID)"

ask stop >/tmp/out 2>&1 || die "stop: $(cat /tmp/out)"
[ "$(state)" = inactive ] || die "stopped, but $(state)"
[ "$(prop Result) $(prop ExecMainStatus)" = 'success 0' ] || die "it did not end cleanly: $(prop Result) $(prop ExecMainStatus)"
status_says 'not running'
ask stop >/tmp/out 2>&1 || die "stopping what is stopped: $(cat /tmp/out)"

# A wrong configuration waits for a person and is not tried again and again.
cp /etc/s3apu/good.toml /tmp/keep
cat /etc/s3apu/bad.toml >"$config"
if ask start >/tmp/out 2>&1; then die "started with a bad configuration"; fi
step "bad configuration: $(cat /tmp/out)"
failed() { [ "$(state)" = failed ]; }
until_true 5 failed || die "with a bad configuration it is $(state)"
[ "$(prop NRestarts)" = 0 ] || die "with a bad configuration it was restarted $(prop NRestarts) times"
cat /tmp/keep >"$config"
ask start >/tmp/out 2>&1 || die "start with the mended configuration: $(cat /tmp/out)"
[ "$(state)" = active ] || die "mended, but $(state)"

ask install >/tmp/out 2>&1 || die "install again: $(cat /tmp/out)"
step "install again: $(cat /tmp/out)"
[ "$(state)" = active ] || die "installing again disturbed it"

ask uninstall >/tmp/out 2>&1 || die "uninstall: $(cat /tmp/out)"
sed 's/^/            /' /tmp/out
[ ! -e /etc/systemd/system/s3apu.service ] || die "the unit is still there"
[ "$(prop LoadState)" = not-found ] || die "systemd still knows it: $(prop LoadState)"
getent passwd s3apu >/dev/null || die "the user was removed"
[ -d /var/lib/s3apu ] || die "the state was removed"
status_says 'not installed'
journalctl -b -u s3apu --no-pager -o cat -n 200 | sed 's/^/  journal:  /' | head -n 60
echo 'PASS: the service boot test'
