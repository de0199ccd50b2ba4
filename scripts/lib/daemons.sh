# shellcheck shell=bash
# Open vSwitch, OVN, Docker and the driver: is it running, start it, stop it; with systemd and without.
# Needs steps.sh and packages.sh. It must not know of the demo or of what was running before.
#
# The caller sets log_dir, run_dir, prefix and clone.

readonly ovs_scripts=/usr/share/openvswitch/scripts
readonly ovn_scripts=/usr/share/ovn/scripts
readonly nb_socket=unix:/run/ovn/ovnnb_db.sock
readonly sb_socket=unix:/run/ovn/ovnsb_db.sock
readonly driver=ovn-docker-overlay-driver

has_systemd() { [[ -d /run/systemd/system ]]; }

# The unit's user cannot write where Docker looks for sockets by itself: a plugin file tells it this one.
if has_systemd; then plugin_socket=/run/ovn-docker/openvswitch.sock; else plugin_socket=/run/docker/plugins/openvswitch.sock; fi
readonly plugin_socket

# journal_of UNIT: what a unit's last start said, in a file that fail can show: the daemon's own lines, without those in
# which systemd tells of its end; where it said nothing, systemd's.
journal_of() {
  local file=$log_dir/journal.log id
  id=$(systemctl show --property=InvocationID --value "$1") || true
  : >"$file"
  [[ -z $id ]] || journalctl --quiet --no-pager --lines=20 "_SYSTEMD_INVOCATION_ID=$id" >"$file" 2>&1 || true
  [[ -s $file ]] || journalctl --no-pager --lines=20 --unit="$1" >"$file" 2>&1 || true
  printf '%s\n' "$file"
}

# said_by UNIT LOG: what a daemon said last, to systemd and in its own log, in a file that fail can show.
said_by() {
  local file=$log_dir/said.log
  {
    ! has_systemd || { printf -- '-- journalctl -u %s\n' "$1" && tail -n 4 "$(journal_of "$1")"; }
    printf -- '-- %s\n' "$2"
    tail -n 4 "$2"
  } >"$file" 2>&1 || true
  printf '%s\n' "$file"
}

# --- Open vSwitch -------------------------------------------------------------------------------------------

ovsdb_running() { have ovs-vsctl && ovs-vsctl --timeout=3 --no-wait get Open_vSwitch . _uuid; }
vswitchd_running() { have ovs-appctl && timeout 3 ovs-appctl -t ovs-vswitchd version; }
ovs_running() { ovsdb_running && vswitchd_running; } >/dev/null 2>&1

# True when the kernel forwards for Open vSwitch; else ovs-vswitchd does it in user space.
has_kernel_datapath() {
  modprobe openvswitch >/dev/null 2>&1 || true
  ovs-dpctl dump-dps >/dev/null 2>&1
}

start_ovs() {
  local log=/var/log/openvswitch/ovs-vswitchd.log
  if has_systemd; then
    systemctl start openvswitch-switch || systemctl start ovsdb-server || true
  else
    "$ovs_scripts/ovs-ctl" --system-id=random --no-ovs-vswitchd start || true
    "$ovs_scripts/ovs-ctl" --system-id=random --no-ovsdb-server start || true
  fi
  wait_until 15 ovsdb_running ||
    fail "ovsdb-server does not answer" "$(said_by ovsdb-server /var/log/openvswitch/ovsdb-server.log)"
  # ovs-ctl and the unit give up where the kernel has modules but not this one (in a container, for example).
  wait_until 3 vswitchd_running || ovs-vswitchd --pidfile --detach --log-file="$log" || true
  wait_until 15 vswitchd_running || fail "ovs-vswitchd does not answer" "$(said_by ovs-vswitchd "$log")"
}

stop_ovs() {
  ! has_systemd || systemctl stop openvswitch-switch ovs-vswitchd ovsdb-server || true
  "$ovs_scripts/ovs-ctl" stop
}

# external_id KEY: the value in Open_vSwitch external_ids, empty when there is none.
external_id() { ovs-vsctl --timeout=5 --if-exists get Open_vSwitch . "external_ids:$1" | tr -d '"'; }

# --- OVN ----------------------------------------------------------------------------------------------------

nb_running() { have ovn-nbctl && ovn-nbctl --timeout=3 --no-leader-only --db="$nb_socket" get NB_Global . _uuid; }
northd_running() { have ovn-appctl && timeout 3 ovn-appctl -t ovn-northd version; }
sb_running() { have ovn-sbctl && ovn-sbctl --timeout=3 --no-leader-only --db="$sb_socket" get SB_Global . _uuid; }
central_running() { nb_running && sb_running && northd_running; } >/dev/null 2>&1
any_central_running() { nb_running || sb_running || northd_running; } >/dev/null 2>&1

start_central() {
  if has_systemd; then
    # What it wants may fail without failing it.
    systemctl start ovn-central || fail "ovn-central does not start" "$(journal_of ovn-central)"
  else
    # Its own databases, on their unix sockets: no TCP port is opened.
    "$ovn_scripts/ovn-ctl" start_northd || fail "ovn-northd does not start" /var/log/ovn/ovn-northd.log
  fi
  wait_until 30 central_running || fail_central
}

# fail_central: name the first of its daemons that does not answer; the others need it.
fail_central() {
  if ! nb_running >/dev/null 2>&1; then
    fail "OVN's northbound database does not answer" "$(said_by ovn-ovsdb-server-nb /var/log/ovn/ovsdb-server-nb.log)"
  elif ! sb_running >/dev/null 2>&1; then
    fail "OVN's southbound database does not answer" "$(said_by ovn-ovsdb-server-sb /var/log/ovn/ovsdb-server-sb.log)"
  fi
  fail "ovn-northd does not answer" "$(said_by ovn-northd /var/log/ovn/ovn-northd.log)"
}

stop_central() {
  ! has_systemd || systemctl stop ovn-central ovn-northd ovn-ovsdb-server-nb ovn-ovsdb-server-sb || true
  "$ovn_scripts/ovn-ctl" stop_northd
}

controller_running() { have ovn-appctl && timeout 3 ovn-appctl -t ovn-controller version; } >/dev/null 2>&1
controller_connected() { [[ $(timeout 3 ovn-appctl -t ovn-controller connection-status) == connected ]]; }
bridge_exists() { ovs-vsctl --timeout=5 br-exists "$1"; }

start_controller() {
  if has_systemd; then
    systemctl start ovn-controller ||
      fail "ovn-controller does not start" "$(said_by ovn-controller /var/log/ovn/ovn-controller.log)"
  else
    "$ovn_scripts/ovn-ctl" start_controller || fail "ovn-controller does not start" /var/log/ovn/ovn-controller.log
  fi
  wait_until 15 controller_running || fail "ovn-controller does not answer" /var/log/ovn/ovn-controller.log
}

stop_controller() {
  ! has_systemd || systemctl stop ovn-host ovn-controller || true
  "$ovn_scripts/ovn-ctl" stop_controller
}

# --- Docker -------------------------------------------------------------------------------------------------

# No other daemon than this machine's is ever meant.
export DOCKER_HOST=unix:///var/run/docker.sock
unset DOCKER_CONTEXT

docker_running() { have docker && timeout 10 docker version --format '{{.Server.Version}}'; } >/dev/null 2>&1

docker_log() { if has_systemd; then journal_of docker; else printf '%s\n' "$log_dir/dockerd.log"; fi; }

start_docker() {
  if has_systemd; then
    systemctl start docker || fail "Docker does not start" "$(docker_log)"
  else
    mount_cgroups
    setsid dockerd </dev/null >"$log_dir/dockerd.log" 2>&1 &
  fi
  wait_until 60 docker_running || fail "dockerd does not answer" "$(docker_log)"
}

# Where no init system did it, dockerd finds no cgroups. Docker of today takes version 2.
mount_cgroups() {
  [[ -d /sys/fs/cgroup ]] || fail "this kernel has no control groups, Docker needs them"
  if ! grep -q ' - cgroup' /proc/self/mountinfo; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail "cannot mount the control groups at /sys/fs/cgroup"
  fi
}

stop_docker() {
  if has_systemd; then
    systemctl stop docker.socket docker.service
  else
    stop_by_pidfile /run/docker.pid dockerd
  fi
}

# stop_by_pidfile FILE PROGRAM: ask the process to end, when it is PROGRAM, and wait for it.
stop_by_pidfile() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$2" || return 0
  kill "$pid"
  wait_until 60 process_gone "$pid" || fail "$2 (process $pid) does not end"
}

# --- The driver ---------------------------------------------------------------------------------------------

driver_running() {
  [[ -S $plugin_socket ]] && "$(python_path)" -c '
import socket, sys
with socket.socket(socket.AF_UNIX) as probe:
    probe.settimeout(3)
    probe.connect(sys.argv[1])
' "$plugin_socket"
} >/dev/null 2>&1

# Where the driver said what went wrong.
driver_log() {
  if has_systemd; then
    journal_of "$driver"
  else
    printf '%s\n' "$log_dir/$driver.log"
  fi
}

start_driver() {
  if has_systemd; then
    "$clone/scripts/install-unit"
    systemctl enable "$driver"
    systemctl start "$driver" || fail "the driver does not start" "$(driver_log)"
  else
    mkdir -p "$run_dir"
    "$prefix/bin/$driver" --unix-socket "$plugin_socket" --docker-driver-scope local --health-check-on \
      --detach --pidfile="$run_dir/$driver.pid" --overwrite-pidfile --log-file="$log_dir/$driver.log" ||
      fail "the driver does not start" "$(driver_log)"
  fi
  wait_until 10 driver_running || fail "the driver does not answer on $plugin_socket" "$(driver_log)"
}

stop_driver() {
  if has_systemd; then
    systemctl disable --now "$driver" || true
    "$clone/scripts/install-unit" --remove
  else
    stop_by_pidfile "$run_dir/$driver.pid" "$driver"
  fi
}
