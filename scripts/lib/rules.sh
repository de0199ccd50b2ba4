# shellcheck shell=bash
# The rules that the driver has made in this host's kernel (src/ovn_docker/host: ruleset.py, iptables_chain.py, guard.py).

# After a plain su the path of root lacks these.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# remove_rules: take them back, as far as they are there. A driver that runs would restore them.
remove_rules() {
  local family program
  for family in inet arp; do
    ! command -v nft >/dev/null || nft delete table "$family" ovn-docker 2>/dev/null || true
  done
  for program in iptables ip6tables; do
    ! command -v "$program" >/dev/null || remove_chains "$program"
  done
}

remove_chains() {
  local from chain
  for chain in OVN-DOCKER OVN-DOCKER-DNS; do
    for from in FORWARD DOCKER-USER INPUT; do
      while "$1" --wait 2 -D "$from" -j "$chain" 2>/dev/null; do :; done
    done
    "$1" --wait 2 -F "$chain" 2>/dev/null || continue
    "$1" --wait 2 -X "$chain"
  done
}
