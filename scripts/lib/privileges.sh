# shellcheck shell=bash
# Root, for scripts that install packages and start daemons: they ask for it themselves. It needs nothing else.
#
# The caller of give_back sets clone.

# become_root SCRIPT ARGUMENT...: unless this is root, start SCRIPT again as root: by sudo, else by su, which asks on the
# terminal. Variables of this project go with it.
become_root() {
  local name command=(env)
  ((EUID != 0)) || return 0
  while read -r name; do
    command+=("$name=${!name}")
  done < <(compgen -A export OVN_DOCKER_ || true)
  command+=("$@")
  if command -v sudo >/dev/null; then
    exec sudo -- "${command[@]}"
  elif [[ ! -t 0 ]]; then
    printf '%s: it must be root, and there is neither sudo nor a terminal on which su could ask: run it as root\n' "${0##*/}" >&2
    exit 1
  fi
  printf 'This needs root. The password that su asks for is that of root.\n' >&2
  exec su root -c "${command[*]@Q}"
}

# only_shows FLAG ARGUMENT...: whether an argument is --help or FLAG, with which a script neither makes nor breaks anything.
only_shows() {
  local flag=$1 word
  shift
  for word in "$@"; do
    [[ $word != --help && $word != -h && $word != "$flag"* ]] || return 0
  done
  return 1
}

# give_back PATH...: what root made in a user's clone is the user's, in whose way it would be.
give_back() {
  local path owner
  owner=$(stat -c %u:%g "$clone")
  ((EUID == 0)) || return 0
  for path in "$@"; do
    [[ ! -e $path ]] || chown -R "$owner" "$path"
  done
}
