# shellcheck shell=bash
# What quickstart itself started, made or changed, one line each, so that --down undoes that and no more.
# It must not know how anything is undone: that is undo_KIND of the caller.
#
# The caller sets state_file.

# record KIND ARGUMENT...: written before the thing is done, so that a run that dies in between can be undone.
record() { recorded "$@" || printf '%s\n' "$*" >>"$state_file"; }

recorded() { [[ -f $state_file ]] && grep -qxF -- "$*" "$state_file"; }

# undo_last: undo the newest line, then forget it.
undo_last() {
  local kind arguments
  read -r kind arguments < <(tail -n 1 "$state_file")
  # A value never holds a space, so the words are the arguments.
  # shellcheck disable=SC2086
  "undo_${kind//-/_}" $arguments
  sed -i '$d' "$state_file"
}
