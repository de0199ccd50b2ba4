# shellcheck shell=bash
# What a machine of scripts/vm starts from: a kernel and a disk image, made once and kept in the cache.
# Needs steps.sh and packages.sh. It must not know of machines and their network.
#
# The caller sets cache, clone, engine and log_dir.

# As little as a fresh server has; what the project needs is installed by those who try it.
readonly image_packages=systemd-sysv,dbus,udev,kmod,openssh-server,ca-certificates,iproute2,iputils-ping,procps,libnss-myhostname
readonly image_size=16G
readonly kernel_config=$clone/scripts/lib/vm.config

# What it takes to make them, and to run a machine.
need_tools() {
  local missing
  mapfile -t missing < <(missing_of ip:iproute2 nsenter:util-linux slirp4netns:slirp4netns ssh:openssh-client \
    mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs)
  ((${#missing[@]} == 0)) || step "Packages: ${missing[*]}" install_package "${missing[@]}"
}

# candidate PACKAGE: the version that apt would install, empty when it knows none.
candidate() { LC_ALL=C apt-cache policy "$1" | sed -n 's/^  Candidate: //p' | grep -vxF '(none)' || true; }

read_package_lists() {
  have apt-get || fail "there is no apt-get: scripts/vm makes Debian machines from Debian's packages"
  apt-get -qq -o DPkg::Lock::Timeout=300 update || fail "apt-get update failed: check /etc/apt/sources.list.d and the network"
}

# once PATH NAME FUNCTION: make PATH by FUNCTION as a step, unless it is there; two scripts/vm do not make it twice.
once() {
  [[ ! -e $1 ]] || return 0
  mkdir -p "$cache"
  exec 8>"$cache/lock"
  flock -n 8 || say "...     another scripts/vm is making a kernel or an image in $cache: waiting for it"
  flock 8
  [[ -e $1 ]] || step "$2" "$3" "$1"
  exec 8>&-
}

# work_directory: a directory in the cache that goes with the step.
work_directory() {
  work=$(mktemp -d "$cache/work.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
}

# --- The kernel of user-mode Linux --------------------------------------------------------------------------

# Sets kernel: the directory with the program "linux" and lib/modules, named by what it was made of.
find_kernel() {
  [[ $(uname -m) == x86_64 ]] || die "user-mode Linux is made for x86_64 here, and this machine is $(uname -m)"
  local version
  [[ -n $(candidate linux-source) ]] || step "Package lists" read_package_lists
  kernel_source=$(LC_ALL=C apt-cache depends linux-source | sed -n 's/^ *Depends: \(linux-source-[0-9.]*\)$/\1/p')
  [[ -n $kernel_source ]] || die "apt knows no package linux-source: scripts/vm needs the archives of Debian"
  version=$(candidate "$kernel_source")
  kernel=$cache/kernel-$version-$(sha256sum "$kernel_config" | cut -c1-10)
}

make_kernel() {
  local source=/usr/src/$kernel_source.tar.xz pair missing=("$kernel_source" build-essential libelf-dev)
  for pair in flex:flex bison:bison bc:bc; do
    have "${pair%%:*}" || missing+=("${pair#*:}")
  done
  install_package "${missing[@]}"
  work_directory
  tar -xf "$source" -C "$work" --strip-components=1 || fail "cannot unpack $source to $cache: is there space for 2 GB?"
  local make=(make -s -C "$work" ARCH=um INSTALL_MOD_PATH="$work/out" INSTALL_MOD_STRIP=1)
  "${make[@]}" x86_64_defconfig
  cat "$kernel_config" >>"$work/.config"
  "${make[@]}" olddefconfig
  check_kernel_config "$work/.config"
  "${make[@]}" -j "$(nproc)" linux modules || fail "the kernel does not build" "$log_dir/step.log"
  "${make[@]}" modules_install
  rm -f "$work"/out/lib/modules/*/build
  install -D "$work/linux" "$work/out/linux" && strip "$work/out/linux"
  mv "$work/out" "$1"
}

# A line that the kernel's own dependencies took away would be missed when a machine runs, and be hard to find.
check_kernel_config() {
  local lost
  lost=$(grep -E '^(CONFIG_|# CONFIG_.* is not set$)' "$kernel_config" | grep -vxF -f "$1" | xargs) || true
  [[ -z $lost ]] || fail "the kernel's sources do not allow these lines of scripts/lib/vm.config: $lost"
}

# --- The image ----------------------------------------------------------------------------------------------

# Sets image: the disk that machines start from, named by what it was made of.
find_image() {
  local packages=$image_packages code
  # shellcheck source=/dev/null
  code=$(. /etc/os-release && printf '%s' "${ID:-} ${VERSION_CODENAME:-}")
  [[ $code == "debian "?* ]] || die "scripts/vm makes machines of this machine's release, which has to be Debian: it is ${code:-unknown}"
  image_release=${code#* }
  [[ $engine == uml ]] || packages+=,linux-image-$(dpkg --print-architecture)
  image=$cache/image-$image_release-$engine-$(
    { printf '%s\n' "$packages" "${kernel:-}" && cat "$clone/scripts/lib/vm-image.sh"; } | sha256sum | cut -c1-10
  )
  wanted_packages=$packages
}

# The archives of the distribution in this machine's settings, as far as another machine reaches them.
distribution_sources() {
  # shellcheck disable=SC2016  # apt's variables
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    grep -E '^deb https?:' | sort -u
}

make_image() {
  local root
  work_directory
  root=$work/root
  distribution_sources >"$work/sources.list" || read_package_lists
  [[ -s $work/sources.list ]] || distribution_sources >"$work/sources.list" ||
    fail "apt's settings name no Debian archive with an http address"
  mmdebstrap --mode=root --variant=apt --include="$wanted_packages" "$image_release" "$root" "$work/sources.list" ||
    fail "mmdebstrap could not make $image_release: is the package archive reachable?" "$log_dir/step.log"
  [[ $engine != uml ]] || cp -a "$kernel/lib/modules" "$root/usr/lib/"
  settle_image "$root"
  mkdir "$work/out"
  [[ $engine == uml ]] || cp "$(compgen -G "$root/boot/vmlinuz-*")" "$work/out/vmlinuz"
  [[ $engine == uml ]] || cp "$(compgen -G "$root/boot/initrd.img-*")" "$work/out/initrd"
  mv "$work/key" "$work/out/key"
  truncate -s "$image_size" "$work/out/disk"
  mkfs.ext4 -q -F -d "$root" "$work/out/disk" ||
    fail "cannot make the file system in $cache: is there space for 2 GB?"
  mv "$work/out" "$1"
}

# settle_image ROOT: its key, its network, names of the machines; and what this machine needs to reach package indexes.
settle_image() {
  local root=$1 n
  ssh-keygen -q -t ed25519 -N '' -C scripts/vm -f "$work/key"
  install -d -m 700 "$root/root/.ssh"
  install -m 600 "$work/key.pub" "$root/root/.ssh/authorized_keys"
  # Each machine makes its own.
  : >"$root/etc/machine-id"
  rm -f "$root/etc/hostname"
  printf 'nameserver 10.0.2.3\n' >"$root/etc/resolv.conf"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
  for n in {1..9}; do printf '10.0.2.%s vm%s\n' "$((10 + n))" "$n"; done >>"$root/etc/hosts"
  chroot "$root" systemctl --quiet enable systemd-networkd systemd-network-generator ssh
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null
  fi
  [[ ! -e /etc/pip.conf ]] || cp /etc/pip.conf "$root/etc/pip.conf"
}
