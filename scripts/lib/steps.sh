# shellcheck shell=bash
# Named steps with progress, and one clear line when a step fails.
# It must not know what a step does.
#
# The caller sets log_dir before the first step.

# What is installed here runs as root, and so does what --down reads: nobody else may write it, whatever the shell says.
umask 022

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# fail REASON [LOG]: end the running step. LOG is the file whose last lines tell more.
fail() {
  printf '%s\n%s\n' "$1" "${2:-}" >"$log_dir/reason"
  exit 1
}

# wait_until SECONDS COMMAND...: poll until COMMAND succeeds, at most SECONDS.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

# A process that ended and that nobody has waited for is gone too.
process_gone() {
  local state
  state=$(sed -n 's/^State:\s*//p' "/proc/$1/status" 2>/dev/null) || true
  [[ -z $state || $state == Z* ]]
}

# step NAME FUNCTION [ARGUMENT...]: run FUNCTION in the background with its output in a log, and show that it lives.
step() {
  local name=$1 started=$SECONDS status=0
  shift
  : >"$log_dir/step.log"
  rm -f "$log_dir/reason"
  (
    set -euo pipefail
    "$@"
  ) </dev/null >"$log_dir/step.log" 2>&1 9>&- &
  step_pid=$!
  show_progress "$step_pid" "$name" "$started"
  wait "$step_pid" || status=$?
  step_pid=
  { printf '== %s\n' "$name" && cat "$log_dir/step.log"; } >>"$log_dir/steps.log"
  clear_progress
  ((status == 0)) || report_failure "$name" "$status"
  say "ok      $name ($((SECONDS - started)) s)"
}

# On a terminal a spinner, elsewhere a line every ten seconds.
show_progress() {
  local pid=$1 name=$2 started=$3 marks='-+*+' tick=0 told=0 elapsed
  while kill -0 "$pid" 2>/dev/null; do
    elapsed=$((SECONDS - started))
    if [[ -t 1 ]]; then
      printf '\r%s       %s (%d s)' "${marks:tick++%4:1}" "$name" "$elapsed"
    elif ((elapsed >= told + 10)); then
      told=$elapsed
      say "...     $name ($elapsed s)"
    fi
    sleep 0.2
  done
}

clear_progress() { [[ ! -t 1 ]] || printf '\r\033[K'; }

# report_failure NAME STATUS: the reason in one line, what the step said, and the log that its failure named.
report_failure() {
  local reason="it ended with status $2" log=
  if [[ -s $log_dir/reason ]]; then
    { read -r reason && read -r log; } <"$log_dir/reason" || true
  fi
  {
    say "FAILED  $1: $reason"
    last_lines "$log_dir/step.log"
    last_lines "$log"
  } >&2
  exit 1
}

last_lines() {
  [[ -n $1 && -s $1 ]] || return 0
  say "The last lines of $1:"
  tail -n 10 "$1" | sed 's/^/    /'
}

# An interrupted step must not go on behind the user's back.
step_pid=
stop_step() {
  clear_progress
  [[ -z $step_pid ]] || kill "$step_pid" 2>/dev/null || true
  die "interrupted; run it again to go on"
}
trap stop_step INT TERM
