# shellcheck shell=bash
# The demo: an image without a registry, a network and two containers, and what they show.
# Needs steps.sh, packages.sh, journal.sh and daemons.sh. It must not start or stop a daemon.

readonly demo_network=demo
readonly demo_image=ovn-docker-demo/busybox
readonly demo_label=ovn-docker.quickstart=1

# busybox from the distribution and a symbolic link for each of its commands.
build_image() {
  ! docker image inspect "$demo_image" >/dev/null 2>&1 || return 0
  local root command
  root=$(mktemp -d)
  mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/www"
  install -m 755 "$(command -v busybox)" "$root/bin/busybox"
  while read -r command; do
    [[ $command == busybox ]] || ln -s busybox "$root/bin/$command"
  done < <("$root/bin/busybox" --list)
  printf 'Hello over OVN\n' >"$root/www/index.html"
  record image "$demo_image"
  tar -C "$root" -c . | docker import --change 'CMD ["sh"]' - "$demo_image" ||
    fail "docker could not import the image $demo_image"
  rm -rf "$root"
}

# is_ours KIND NAME: 0 ours, 1 there is none, 2 somebody else's.
is_ours() {
  local labels
  labels=$(docker "$1" inspect --format "$2" "$3" 2>/dev/null) || return 1
  [[ $labels == *"ovn-docker.quickstart:1"* ]] || return 2
}

create_network() {
  local subnet=$1 status=0
  is_ours network '{{.Labels}}' "$demo_network" || status=$?
  case $status in
    0) return ;;
    2) fail "a Docker network with the name $demo_network exists that this script did not make: rename or remove it" ;;
  esac
  # Docker makes this bridge for published ports, and where the host cannot be the way out, and leaves it.
  docker network inspect docker_gwbridge >/dev/null 2>&1 || record network docker_gwbridge
  record network "$demo_network"
  docker network create -d openvswitch --label "$demo_label" --subnet="$subnet" "$demo_network" ||
    fail "docker could not create the network $demo_network with $subnet (another: --subnet)" "$(driver_log)"
}

# run_container NAME COMMAND...: made anew in each run.
run_container() {
  local name=$1 status=0
  shift
  is_ours container '{{.Config.Labels}}' "$name" || status=$?
  case $status in
    0) docker rm -f "$name" ;;
    2) fail "a container with the name $name exists that this script did not make: rename or remove it" ;;
  esac
  record container "$name"
  docker run -d --restart unless-stopped --name "$name" --label "$demo_label" --network "$demo_network" --init=false \
    "$demo_image" "$@" ||
    fail "docker could not run the container $name" "$(driver_log)"
}

run_containers() {
  run_container demo-a sleep 1000000
  run_container demo-b httpd -f -p 80 -h /www
}

# show COMMAND...: the command as one would type it, then what it says.
show() {
  local status=0
  say "\$ $*"
  timeout 30 "$@" 2>&1 | sed 's/^/    /' || status=$?
  ((status == 0)) || die "FAILED  $1 ended with status $status: see $(driver_log)"
}

# nbctl_command NB: ovn-nbctl for the northbound database NB, as short as it can be typed.
nbctl_command() {
  printf 'ovn-nbctl'
  [[ $1 == "$nb_socket" ]] || printf ' --no-leader-only --db=%s' "$1"
}

# show_demo NB: ping, TCP and what OVN has of it; NB is the northbound database.
show_demo() {
  local id nbctl
  read -ra nbctl <<<"$(nbctl_command "$1")"
  id=$(docker network inspect --format '{{.Id}}' "$demo_network")
  say ""
  show docker exec demo-a ping -c 3 demo-b
  show docker exec demo-a timeout 5 wget -q -O - http://demo-b/
  show "${nbctl[@]}" ls-list
  show "${nbctl[@]}" lsp-list "$id"
}
