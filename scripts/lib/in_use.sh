# shellcheck shell=bash
# Which containers of the user's would lose their network by --down.
# Needs steps.sh, journal.sh and daemons.sh. It must change nothing.
#
# The caller sets state_file.

# loses NETWORK: whether --down takes something from this network of the driver. Each daemon that it stops serves them all.
loses() { grep -q '^started ' "${state_file:?}" || recorded network "$1"; }

# users_of ID: the running containers on this network that are not the demo's. One that has stopped is in nobody's way.
users_of() {
  local names name
  names=$(docker ps --filter "network=$1" --format '{{.Names}}')
  for name in $names; do
    recorded container "$name" || printf '%s\n' "$name"
  done
}

# Docker's filter of containers does not find those on docker_gwbridge, so the driver's own networks are gone through.
check_unused() {
  local list id network users containers=() networks=()
  docker_running || return 0
  list=$(docker network ls --no-trunc --filter driver=openvswitch --format '{{.ID}} {{.Name}}')
  while read -r id network; do
    [[ -n $id ]] || continue
    loses "$network" || continue
    users=$(users_of "$id")
    [[ -n $users ]] || continue
    networks+=("$network")
    mapfile -t -O "${#containers[@]}" containers <<<"$users"
  done <<<"$list"
  ((${#networks[@]} == 0)) ||
    fail "containers are on networks of this driver ($(words "${networks[@]}")): remove them first: docker rm -f $(words "${containers[@]}")"
}

# words WORD...: each once, on one line.
words() { printf '%s\n' "$@" | sort -u | xargs; }
