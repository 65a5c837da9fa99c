# Finds, stops and clears away what labs start. Every process is named by its id and, where it may have ended long ago,
# its start time, so that a reused id is never hit. Given to `sh -s`; the first argument says what to do:
#   sessions PORT       the ids of the sshd that serves 127.0.0.1:PORT and of all that its sessions run, one a line
#   clear DIR           clear away the lab whose folder is DIR
#   sweep ROOT          clear away the labs whose owner is dead
#   watch ROOT PID      wait until standard input ends and PID is dead, then sweep, and stop a dockerd that nobody needs
LC_ALL=C
export LC_ALL
unset DOCKER_HOST DOCKER_CONTEXT

# A Docker Engine that hangs does not keep the rest from being cleared away.
docker() { timeout 30 docker "$@"; }

# The start time (clock ticks after boot) of process $1; nothing if it is dead. A zombie is dead.
started() {
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
  set -- ${stat##*) }
  [ "$1" = Z ] || echo "${20}"
}

alive() { [ -n "$2" ] && [ "$(started "$1")" = "$2" ]; }

# The processes $* and everything below them, one a line.
with_descendants() {
  ps -eo pid=,ppid= | awk -v roots="$*" '
    BEGIN { n = split(roots, root, " "); for (i = 1; i <= n; i++) wanted[root[i]] = 1 }
    { parent[$1] = $2 }
    END {
      for (pid in parent)
        for (at = pid; at in parent; at = parent[at])
          if (at in wanted) { print pid; break }
    }'
}

# A session outlives the sshd that accepted it, so it is found by its socket, whose local port is the lab's own.
sessions() {
  sockets=$(awk -v port="$(printf ':%04X' "$1")" '$2 ~ port "$" && $10 > 0 { print "socket:[" $10 "]" }' /proc/net/tcp)
  [ -n "$sockets" ] || return 0
  pids=
  for dir in /proc/[0-9]*; do
    read -r name 2>/dev/null <"$dir/comm" || continue
    case $name in sshd*) ;; *) continue ;; esac
    ls -l "$dir/fd" 2>/dev/null | grep -qF "$sockets" || continue
    pids="$pids ${dir#/proc/}"
  done
  [ -z "$pids" ] || with_descendants "$pids"
}

# The folder $1 of one lab: its sshd with all sessions, its container, its files.
clear_lab() {
  read -r port 2>/dev/null <"$1/port" && for pid in $(sessions "$port"); do kill -9 "$pid" 2>/dev/null; done
  read -r container 2>/dev/null <"$1/container" && docker rm -f -v "$container" >/dev/null 2>&1
  rm -rf "$1"
}

sweep() {
  for dir in "$1"/labs/*/; do
    dir=${dir%/}
    read -r pid start 2>/dev/null <"$dir/owner" || continue
    alive "$pid" "$start" || clear_lab "$dir"
  done
}

# Stops the dockerd that a lab started, unless a container of somebody else runs in it.
stop_dockerd() {
  read -r pid start 2>/dev/null <"$1/dockerd.pid" || return 0
  if alive "$pid" "$start"; then
    [ -z "$(docker ps -q)" ] || return 0
    kill "$pid"
    left=100
    while alive "$pid" "$start" && [ $left -gt 0 ]; do
      sleep 0.1
      left=$((left - 1))
    done
  fi
  rm -f "$1/dockerd.pid"
}

watch() {
  start=$(started "$2")
  cat >/dev/null
  # The owner's locks are free once it is a zombie, not yet when its end of the pipe closes.
  while alive "$2" "$start"; do sleep 0.05; done
  exec 8>"$1/start.lock"
  flock -x 8
  sweep "$1"
  exec 9>"$1/users.lock"
  [ -n "$GATEWATCH_LAB_KEEP" ] || ! flock -n -x 9 || stop_dockerd "$1" 8>&- 9>&-
}

case $1 in
sessions) sessions "$2" ;;
clear) clear_lab "$2" ;;
sweep) sweep "$2" ;;
watch) watch "$2" "$3" ;;
esac
