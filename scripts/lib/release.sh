# shellcheck shell=bash
# A Debian release in a directory and in namespaces of its own: made, entered, removed.
# Needs steps.sh and packages.sh. It must not know what is run in it.
#
# The caller sets cache, where bases are kept and where each run has a directory run.PID, its own in run, and inside,
# where commands start in the release.
# Everything in the namespaces dies with their first process, and that one with the caller, even when it is killed.
# Mounts and links go with the namespaces, so only control groups and files are left to be removed.

readonly base_days=7
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly cgroup=ovn-docker-matrix.$$

# --- The base -----------------------------------------------------------------------------------------------

# archive LABEL DEFAULT: where apt gets Debian's archive with this label from on this machine.
archive() {
  local found
  # It is apt that expands these.
  # shellcheck disable=SC2016
  found=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 2>/dev/null |
    sed -n "s,^Debian $1 \(https\?://\),\1,p")
  found=${found%%$'\n'*}
  printf '%s\n' "${found:-$2}"
}

# What apt has to be told on this machine to reach an archive holds in there too.
apt_settings() { apt-config dump | grep -E '^Acquire::(.*::Proxy|Check-Valid-Until|Check-Date|Retries) ' || true; }

# sources SUITE MIRROR: a sources.list with the updates that users of the release have.
sources() {
  local suite=$1 mirror=$2 security
  security=$(archive Debian-Security http://deb.debian.org/debian-security)
  printf 'deb %s %s main\n' "$mirror" "$suite"
  [[ $suite == sid ]] ||
    printf 'deb %s %s main\n' "$mirror" "$suite-updates" "$security" "$suite-security"
}

# make_base SUITE: the release as debootstrap makes it, packed in the cache, unless a new one is there.
make_base() {
  local suite=$1 tree=$run/base mirror
  [[ -z $(find "$cache/$suite.tar.gz" -mtime "-$base_days" 2>/dev/null) ]] || return 0
  need debootstrap debootstrap
  [[ -e $keyring ]] || install_package debian-archive-keyring
  mirror=$(archive Debian http://deb.debian.org/debian)
  # It mounts a /proc, which goes with its namespace.
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
    debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" "$suite" "$tree" "$mirror" ||
    fail "debootstrap could not make $suite from $mirror: is it reachable?"
  sources "$suite" "$mirror" >"$tree/etc/apt/sources.list"
  tar -C "$tree" --numeric-owner -czf "$run/base.tar.gz" .
  mv "$run/base.tar.gz" "$cache/$suite.tar.gz"
  rm -rf --one-file-system "$tree"
}

# unpack_base SUITE ROOT: the base in ROOT, with what it takes to reach the registries from this machine.
unpack_base() {
  local suite=$1 root=$2 file
  mkdir "$root"
  tar -C "$root" --numeric-owner -xzf "$cache/$suite.tar.gz"
  apt_settings >"$root/etc/apt/apt.conf.d/90machine"
  # slirp4netns answers there, and asks whom this machine asks.
  printf 'nameserver 10.0.2.3\n' >"$root/etc/resolv.conf"
  printf '127.0.0.1 localhost %s\n::1 localhost\n' "$suite" >"$root/etc/hosts"
  for file in /etc/pip.conf "$HOME/.config/pip/pip.conf"; do
    [[ ! -f $file ]] || install -D -m 644 "$file" "$root/${file/#"$HOME"//root}"
  done
  for file in /usr/local/share/ca-certificates/*.crt; do
    [[ ! -f $file ]] || install -D -m 644 "$file" "$root$file"
  done
  chroot "$root" update-ca-certificates
}

# --- Control groups -----------------------------------------------------------------------------------------

# Every hierarchy, of version 1 and 2: where it is mounted, and the directory there of the group that this process is in.
own_cgroups() {
  awk '
    NR == FNR { match($0, /:[^:]*:/); own[substr($0, RSTART + 1, RLENGTH - 2)] = substr($0, RSTART + RLENGTH); next }
    $(NF - 2) !~ /^cgroup2?$/ || $5 !~ "^/sys/fs/cgroup" { next }
    {
      for (name in own)
        if ($(NF - 2) == "cgroup2" ? name == "" : name != "" && index("," $NF ",", "," name ",")) {
          path = own[name]
          if ($4 != "/") path = substr(path, length($4) + 1)
          print $5, $5 (path == "/" ? "" : path)
        }
    }
  ' /proc/self/cgroup /proc/self/mountinfo
}

cgroups=() # MOUNT=DIRECTORY

# Below the groups that this process is in, and the root of what is seen in there: whatever is left in it is the run's.
make_cgroups() {
  local mount parent file
  cgroups=()
  while read -r mount parent; do
    cgroups+=("$mount=$parent/$cgroup")
    mkdir -p "$parent/$cgroup"
    for file in cpuset.cpus cpuset.mems; do
      # Version 1 gives a new group none of either.
      [[ ! -e $parent/cgroup.clone_children || ! -e $parent/$file ]] || cat "$parent/$file" >"$parent/$cgroup/$file"
    done
  done < <(own_cgroups)
}

join_cgroups() {
  local each
  for each in "${cgroups[@]}"; do
    printf '%s\n' "$BASHPID" >"${each#*=}/cgroup.procs"
  done
}

# remove_cgroups NAME: a process that has just ended may still be in one.
remove_cgroups() { wait_until 20 cgroups_removed "$1" || warn "the control group $1 cannot be removed"; }

cgroups_removed() {
  local found
  mapfile -t found < <(find /sys/fs/cgroup -depth -type d \( -name "$1" -o -path "*/$1/*" \))
  ((${#found[@]} == 0)) || rmdir "${found[@]}"
}

# --- The namespaces -----------------------------------------------------------------------------------------

# become SUITE ROOT MOUNT=CGROUP...: in new namespaces, make ROOT the root and wait for orphans ever after.
become() {
  local suite=$1 root=$2 each
  shift 2
  printf '%s\n' "$suite" >/proc/sys/kernel/hostname
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=755 run "$root/run"
  # Debian does so since trixie.
  [[ $suite == bookworm ]] || mount -t tmpfs -o mode=1777 tmp "$root/tmp"
  mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
  for each in "$@"; do
    mkdir -p "$root${each%%=*}"
    mount --bind "${each#*=}" "$root${each%%=*}"
  done
  cd "$root"
  pivot_root . mnt
  exec bash -c 'umount -l /mnt && touch /up && while :; do sleep 3600 & wait; done' </dev/null
}

first=   # the first process in the namespaces, whom all others there follow
network= # slirp4netns

# start_release SUITE ROOT: the namespaces, and in them a network that reaches what this machine reaches.
start_release() {
  local suite=$1 root=$2 launcher
  make_cgroups
  (
    join_cgroups
    exec setpriv --pdeathsig KILL unshare --mount --uts --ipc --pid --net --fork --kill-child --propagation private \
      bash -euo pipefail -c "$(declare -f become); become \"\$@\"" become "$suite" "$root" "${cgroups[@]}"
  ) &
  launcher=$!
  disown
  wait_until 20 test -e "$root/up" || return 1
  read -r first _ <"/proc/$launcher/task/$launcher/children" || [[ -n $first ]]
  setpriv --pdeathsig KILL slirp4netns --configure --mtu=1500 --disable-host-loopback "$first" tap0 </dev/null &
  network=$!
  disown
  wait_until 20 has_route
}

has_route() { grep -q $'^tap0\t00000000' "/proc/$first/net/route"; }

# What reaches the registries from this machine, by the environment.
environment() {
  local name
  printf '%s\n' HOME=/root LANG=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt
  for name in {http,https,no}_proxy {HTTP,HTTPS,NO}_PROXY PIP_{INDEX_URL,EXTRA_INDEX_URL,TRUSTED_HOST,DEFAULT_TIMEOUT}; do
    [[ -z ${!name:-} ]] || printf '%s=%s\n' "$name" "${!name}"
  done
}

# enter COMMAND...: run it in the release.
enter() {
  local variables
  mapfile -t variables < <(environment)
  (
    join_cgroups
    # It is in there that these are expanded.
    # shellcheck disable=SC2016
    exec nsenter --target "$first" --mount --uts --ipc --pid --net --root -- \
      env -i "${variables[@]}" sh -c 'cd "$0" && exec "$@"' "$inside" "$@" </dev/null
  )
}

# remove_release ROOT: everything in the namespaces dies, and no file, mount or control group stays.
remove_release() {
  local pid
  for pid in $network $first; do
    kill -KILL "$pid" 2>/dev/null || true
    wait_until 60 process_gone "$pid" || warn "process $pid does not end"
  done
  first='' network=''
  remove_cgroups "$cgroup"
  rm -rf --one-file-system "$1"
}

# What a run left that was killed itself.
remove_dead_runs() {
  local directory pid
  for directory in "$cache"/run.*; do
    pid=${directory##*.}
    if process_gone "$pid"; then
      remove_cgroups "ovn-docker-matrix.$pid"
      rm -rf --one-file-system "$directory"
    fi
  done
}
