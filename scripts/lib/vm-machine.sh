# shellcheck shell=bash
# The machines of one lab and the network between them: start, stop, enter.
# Needs steps.sh. It must not know how a kernel or an image is made.
#
# A machine is a directory with its disk, the image and kernel it was made from, its engine, console and process id.
# The caller sets lab, lab_dir and memory; n is the machine's number.

readonly bridge=vmbr
in_ns() { nsenter --net="/run/netns/ovnvm-$lab" -- "$@"; }
vm_dir() { printf '%s/vm%s\n' "$lab_dir" "$1"; }
vm_address() { printf '10.0.2.%s\n' "$((10 + $1))"; }

# running FILE: true when the process whose id is in FILE lives.
running() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && ! process_gone "$pid"
}

# A process that ended and that nobody has waited for is gone too. A number that was given anew is another's.
process_gone() {
  local state
  state=$(sed -n 's/^State:\s*//p' "/proc/$1/status" 2>/dev/null) || true
  [[ -z $state || $state == Z* ]] || ! tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "ovnvm-$lab"
}

machines() {
  local path
  for path in "$lab_dir"/vm[1-9]; do
    [[ ! -d $path ]] || printf '%s\n' "${path##*/vm}"
  done
}
vm_running() { running "$(vm_dir "$1")/pid"; }
need_running() { vm_running "$n" || die "machine $n of lab $lab does not run: scripts/vm up --lab $lab -n $n"; }

# --- The network --------------------------------------------------------------------------------------------

# A bridge in a network namespace of the lab's own; slirp4netns on it is the way out, 10.0.2.2, and the DNS, 10.0.2.3.
start_network() {
  [[ -e /run/netns/ovnvm-$lab ]] || ip netns add "ovnvm-$lab"
  in_ns ip link show "$bridge" >/dev/null 2>&1 || in_ns ip link add "$bridge" type bridge
  in_ns ip address replace 10.0.2.1/24 dev "$bridge"
  in_ns ip link set lo up
  in_ns ip link set "$bridge" up
  running "$lab_dir/slirp.pid" || start_slirp
}

start_slirp() {
  setsid slirp4netns --mtu=1500 --disable-host-loopback --netns-type=path "/run/netns/ovnvm-$lab" vmslirp \
    </dev/null >"$lab_dir/slirp.log" 2>&1 9>&- &
  printf '%s\n' $! >"$lab_dir/slirp.pid"
  wait_until 10 in_ns ip link show vmslirp || fail "slirp4netns does not start" "$lab_dir/slirp.log"
  in_ns ip link set vmslirp master "$bridge" up
}

# Where no machine runs there is no network either.
stop_network() {
  local other
  for other in $(machines); do
    ! vm_running "$other" || return 0
  done
  stop_process "$lab_dir/slirp.pid"
  [[ ! -e /run/netns/ovnvm-$lab ]] || ip netns del "ovnvm-$lab"
}

# stop_process FILE: end the process whose id is in FILE, and those that it started.
stop_process() {
  local pid
  if running "$1"; then
    pid=$(cat "$1")
    kill -KILL -- "-$pid"
    wait_until 20 process_gone "$pid" || die "process $pid of lab $lab does not end"
  fi
  rm -f "$1"
}

# --- A machine ----------------------------------------------------------------------------------------------

create_machine() {
  local dir
  dir=$(vm_dir "$n")
  mkdir -p "$dir"
  ln -sfn "$image" "$dir/image"
  [[ $engine != uml ]] || ln -sfn "$kernel" "$dir/kernel"
  [[ $engine == uml ]] || qemu-img create -q -f qcow2 -F raw -b "$image/disk" "$dir/disk"
  printf '%s\n' "$engine" >"$dir/engine"
}

boot_machine() {
  local dir tap=vmtap$n
  dir=$(vm_dir "$n")
  start_network
  in_ns ip link show "$tap" >/dev/null 2>&1 || in_ns ip tuntap add "$tap" mode tap
  in_ns ip link set "$tap" master "$bridge" up
  # Once the bridge forgets a silent machine, slirp4netns sees what is sent to it, and resets the connection.
  in_ns bridge fdb replace "$(mac)" dev "$tap" master static
  "start_$(<"$dir/engine")" "$dir" "$tap" </dev/null >"$dir/console.log" 2>&1 9>&- &
  printf '%s\n' $! >"$dir/pid"
  wait_for_ssh "$dir"
}

# kernel_words CARD: what the kernel's command line tells systemd.
kernel_words() {
  printf 'rw quiet systemd.hostname=vm%s ip=%s::10.0.2.2:255.255.255.0::%s:off\n' "$n" "$(vm_address "$n")" "$1"
}

# Memory of user-mode Linux is a file: on /dev/shm, so that it is never written to a disk.
start_uml() {
  local words
  read -ra words < <(kernel_words vec0)
  TMPDIR=/dev/shm exec setsid nsenter --net="/run/netns/ovnvm-$lab" -- "$1/kernel/linux" \
    "mem=$memory" "ubda=$1/disk,$1/image/disk" root=/dev/ubda con0=fd:0,fd:1 con=null "umid=ovnvm-$lab-$n" "uml_dir=$1" \
    "vec0:transport=tap,ifname=$2,depth=128,gro=1,mac=$(mac)" "${words[@]}"
}

start_kvm() {
  exec setsid nsenter --net="/run/netns/ovnvm-$lab" -- qemu-system-x86_64 -name "ovnvm-$lab-$n" \
    -accel kvm -cpu host -smp 2 -m "$memory" -nodefaults -display none -serial stdio -device virtio-rng-pci \
    -kernel "$1/image/vmlinuz" -initrd "$1/image/initrd" \
    -append "root=/dev/vda console=ttyS0 net.ifnames=0 $(kernel_words eth0)" \
    -drive "file=$1/disk,format=qcow2,if=virtio,cache=unsafe" \
    -netdev "tap,id=card,ifname=$2,script=no,downscript=no" -device "virtio-net-pci,netdev=card,mac=$(mac)"
}

mac() { printf '52:54:00:76:6d:%02x\n' "$n"; }

wait_for_ssh() {
  local deadline=$((SECONDS + 240))
  until vm_ssh true >/dev/null 2>&1; do
    if ! vm_running "$n" || ((SECONDS >= deadline)); then
      power_off
      fail "machine $n of lab $lab does not boot, or does not answer by ssh" "$1/console.log"
    fi
    sleep 0.2
  done
}

ssh_options() {
  printf '%s\n' -i "$(vm_dir "$n")/image/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ConnectTimeout=5 -o ServerAliveInterval=15
}

vm_ssh() {
  local options
  mapfile -t options < <(ssh_options)
  in_ns ssh "${options[@]}" "root@$(vm_address "$n")" "$@"
}

# vm_put FILE TO
vm_put() {
  local options
  mapfile -t options < <(ssh_options)
  in_ns scp -q -r "${options[@]}" "$1" "root@$(vm_address "$n"):$2"
}

# A machine that does not end in time loses its power.
shut_down() {
  local pid
  pid=$(cat "$(vm_dir "$n")/pid")
  vm_ssh systemctl poweroff >/dev/null 2>&1 || true
  wait_until 90 process_gone "$pid" || warn "machine $n of lab $lab does not shut down: its power is cut"
  power_off
}

power_off() {
  stop_process "$(vm_dir "$n")/pid"
  stop_network
}
