# shellcheck shell=bash
# Debian packages and Python virtual environments, installed only where they are missing.
# Needs steps.sh. It must not start or stop anything.

# After a plain su the path of root lacks these.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

have() { command -v "$1" >/dev/null 2>&1; }

# install_package PACKAGE...: install from the distribution. The package lists are read once a run at most.
install_package() {
  have apt-get || fail "$* missing, and there is no apt-get: install it by hand and run this again"
  local apt=(apt-get -qq -o "DPkg::Lock::Timeout=300" -o "APT::Install-Recommends=false")
  if [[ ! -e $log_dir/apt-updated ]]; then
    "${apt[@]}" update || fail "apt-get update failed: check /etc/apt/sources.list.d and the network"
    touch "$log_dir/apt-updated"
  fi
  # No questions, and no restart of services that have nothing to do with this.
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 "${apt[@]}" install -y "$@" ||
    fail "apt-get could not install $*: is the package archive reachable, and are they in it?"
}

# installed_names: of each line of names on standard input, the first that is installed, or else the first.
installed_names() {
  local names name
  while read -ra names; do
    for name in "${names[@]}" "${names[0]}"; do
      [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null) != installed ]] || break
    done
    printf '%s\n' "$name"
  done
}

# without_services COMMAND...: run it, and let no package that it installs start the machine's services.
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [[ -e $policy ]]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  # This runs in the subshell of a step.
  # shellcheck disable=SC2064
  trap "rm -f '$policy'" EXIT
  "$@"
}

# need COMMAND PACKAGE: install PACKAGE unless COMMAND is there.
need() { have "$1" || install_package "$2"; }

# Where the kernel has AppArmor, dockerd starts no container without its parser, which its package only recommends.
ensure_apparmor_parser() {
  local enabled=/sys/module/apparmor/parameters/enabled
  [[ ! -r $enabled || $(<"$enabled") != Y ]] || need apparmor_parser apparmor
}

# The python3 to use: the system's when it is new enough, else the first on PATH that is.
python_path() {
  local candidate
  for candidate in /usr/bin/python3 $(type -aP python3); do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

ensure_python() {
  have python3 || install_package python3 python3-venv
  python_path >/dev/null || fail "Python 3.11 or newer is needed, python3 is $(python3 --version 2>&1)"
  has_python || install_package python3-venv
}

# Debian keeps the wheels that venv needs in a package of its own.
has_python() { "$(python_path)" -c 'import ensurepip, venv' 2>/dev/null; }

# fingerprint PATH...: one word that changes when a file under one of PATH does.
fingerprint() {
  find "$@" -type f -not -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# install_project TARGET TREE STAMP LOCK [PIP_OPTION...]: the virtual environment TARGET with the package of TREE in it.
# Everything from a package index is checked against the hashes of LOCK and requirements-build.lock.
# STAMP is a word that says what is installed; the same word again installs nothing.
install_project() {
  local target=$1 tree=$2 stamp=$3 lock=$4
  shift 4
  if [[ -x $target/bin/python && $(cat "$target/installed" 2>/dev/null) == "$stamp" ]]; then
    return
  fi
  ensure_python
  # --clear: a half-made environment of an interrupted run is worth nothing.
  "$(python_path)" -m venv --clear "$target" || fail "cannot make the virtual environment $target"
  local pip=("$target/bin/python" -m pip --quiet --disable-pip-version-check install)
  "${pip[@]}" --require-hashes -r "$lock" -r "$tree/requirements-build.lock" ||
    fail "pip could not install ${lock##*/}: is the package index reachable?"
  "${pip[@]}" --no-deps --no-build-isolation "$@" "$tree" || fail "pip could not install $tree"
  printf '%s\n' "$stamp" >"$target/installed"
}

# missing_of PROGRAM:PACKAGE...: the packages of the programs that are not there, one a line.
missing_of() {
  local pair
  for pair in "$@"; do
    have "${pair%%:*}" || printf '%s\n' "${pair#*:}"
  done
}

# Debian has Docker's client in a package of its own, Ubuntu has not.
ensure_docker_client() { have docker || without_services install_package docker-cli; }

# PROGRAM:PACKAGE of OVN and Open vSwitch, and of whole emulated hosts.
ovn_programs=(ovs-vswitchd:openvswitch-switch ovn-northd:ovn-central ovn-controller:ovn-host)
# Read by the scripts.
# shellcheck disable=SC2034
lab_programs=(
  ip:iproute2 ethtool:ethtool busybox:busybox-static nft:nftables iptables:iptables "${ovn_programs[@]}" dockerd:docker.io
)

# install_tools TARGET: the virtual environment for the tests, the bench and chaos, with this clone's driver and lab in it.
install_tools() {
  local stamp
  stamp=$(fingerprint "$clone"/{pyproject.toml,lab/pyproject.toml,requirements-dev.lock,requirements-build.lock})
  install_project "$1" "$clone" "$stamp" "$clone/requirements-dev.lock" --editable "$clone/lab" --editable
}

has_postgresql() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

# install_openstack TARGET LOCK: the virtual environment TARGET with Keystone and Neutron, at the hashes of LOCK.
install_openstack() {
  local target=$1 lock=$2 stamp
  stamp=$(fingerprint "$lock")
  [[ $(cat "$target/installed" 2>/dev/null) != "$stamp" ]] || return 0
  "$(python_path)" -m venv --clear "$target" || fail "cannot make the virtual environment $target"
  "$target/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes -r "$lock" ||
    fail "pip could not install Keystone and Neutron: is the package index reachable?"
  printf '%s\n' "$stamp" >"$target/installed"
}
