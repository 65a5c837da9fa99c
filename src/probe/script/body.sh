# The body of every poll, read by `sh -s` inside one pair of braces, so that it is parsed whole before it runs. The header
# that mod.rs writes sets: n (nonce), full, c (container), since, u (probe address), inside (what runs in the
# container), w (bound of one command, seconds), a (bound of one docker command), q (bound of the probe), chunk. `look` calls follow it.
# The nonce must never become an argument or an environment entry of a process: it is only ever given to `echo`, a builtin.
LC_ALL=C
export LC_ALL
exec </dev/null 2>/dev/null
set -f
nl='
'
f() { echo; echo "--$n $1"; }

# Not --foreground: a command's own children end with it.
if k=$(timeout -k 1 9 date +%s.%N); then t() { timeout -k 1 "$@"; }
else k=$(date +%s.%N); t() { shift; "$@"; }
fi
f clock
echo "$k"

# The body's end, a newline, the HTTP status; 000 is silence.
probe() {
  if command -v curl >/dev/null; then
    t "$w" curl -sg --noproxy '*' --proto =http,https --connect-timeout "$q" --max-time "$q" -w '\n%{http_code}' -- "$u" |
      tail -c 4096
  elif command -v wget >/dev/null; then
    { if t "$q" wget -q -O - -T "$q" -t 1 -- "$u"; then printf '\n200'; else printf '\n000'; fi; } | tail -c 4096
  elif command -v python3 >/dev/null; then
    t "$q" python3 -c 'import sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=2) as r: print(r.read(4000).decode("utf-8", "replace"), r.status, sep="\n")
except Exception: print("\n000")' "$u"
  else
    echo unknown
  fi
}

describe() {
  t "$a" docker inspect --type container -f '{{.Id}} {{.State.Status}} {{.State.StartedAt}}
[{{json .Id}},{{json .Name}},{{json .Config.Image}},{{json .State.Status}},{{json .State.StartedAt}}]' -- "$1"
}

# Ids of containers whose image has `windows` in its name: where the named container does not exist, the first stands in.
find_container() {
  l=$(t "$a" docker ps -a --no-trunc --format '{{.ID}} {{.Image}}' 2>&1)
  r=$?
  case $r in
  0) ;;
  124 | 137) word=unavailable text="docker does not answer"; return ;;
  127) word=unavailable text="there is no docker command"; return ;;
  *) word=unavailable text=$l; return ;;
  esac
  word=missing text= i=
  IFS=$nl
  for m in $l; do
    case ${m#* } in *windows*) i=${m%% *}; break ;; esac
  done
  unset IFS
  [ -n "$i" ] && o=$(describe "$i") && word=found
}

container() {
  word=none o= text=
  if [ -n "$c" ]; then
    o=$(describe "$c")
    case $? in
    0) word=found ;;
    124 | 137) word=unavailable text="docker does not answer" ;;
    *) find_container ;;
    esac
  fi
  id= state= started=
  if [ "$word" = found ]; then
    text=${o#*"$nl"}
    o=${o%%"$nl"*}
    id=${o%% *}
    started=${o##* }
    state=${o#* }
    state=${state% *}
  fi
  f container
  echo "$word"
  printf '%s\n' "$text"

  case $word:$state in
  found:running | found:paused)
    # Both at once: `docker exec` is the slowest part of a poll.
    {
      printf '%s\n' "$inside" | t "$a" docker exec -i "$id" sh -s 2>&1
      case $? in 124 | 137) echo "process failed docker exec did not end in time" ;; esac
    } | head -c 16384 | {
      f boot
      boot
      f inside
      cat
    }
    return
    ;;
  esac
  f boot
  boot
  f inside
  case $word in
  none) printf '%s\n' "$inside" | t "$w" sh -s | head -c 16384 ;;
  found | missing)
    echo "process none"
    echo done
    ;;
  *) echo "process failed docker does not answer" ;;
  esac
}

# Lines that tell of the boot, however much else was printed; behind a line with a form feed the newest, for people.
boot() {
  [ -n "$id" ] || return
  if command -v awk >/dev/null; then
    # The pattern goes in by the environment: an argument's backslashes would be read once more.
    t "$a" docker logs --since "${since:-$started}" "$id" 2>&1 | marks=$marks awk '
      $0 ~ ENVIRON["marks"]
      { newest[NR % 10] = $0 }
      END { print "\n\f"; for (i = NR > 9 ? NR - 9 : 1; i <= NR; i++) print newest[i % 10] }' | tail -c 61440
  else
    t "$a" docker logs --since "${since:-$started}" "$id" 2>&1 | grep -aE "$marks" | tail -c 57344
    printf '\n\f\n'
    t "$a" docker logs --since "${since:-$started}" --tail 10 "$id" 2>&1 | tail -c 4096
  fi
}

# The file on descriptor 3 ($1: sections' prefix, $2: cursor's offset, $3: its first byte and $4: length of what is wanted
# before it, $5: what stat said). Everything is read through the descriptor: the same file, whatever gets renamed.
part() {
  f "$1.stat"
  echo "$5"
  f "$1.data"
  [ "${5##* }" -gt "$2" ] && tail -c "+$(($2 + 1))" /proc/$$/fd/3 | head -c "$chunk"
  f "$1.head"
  head -c 1024 /proc/$$/fd/3
  f "$1.before"
  [ "$4" -gt 0 ] && tail -c "+$(($3 + 1))" /proc/$$/fd/3 | head -c "$4"
  :
}

# One log: $1 index, $2 path, $3 cursor's offset, $4 and $5 as part's $3 and $4, $6 "DEV INODE" of the cursor, $7 its inode.
look() {
  d=$2
  case $d in /*) ;; *) d=./$d ;; esac
  d=${d%/*}/
  s=
  if [ -f "$2" ]; then
    { s=$(stat -L -c '%d %i %s' /proc/$$/fd/3) && part "log.$1" "$3" "$4" "$5" "$s"; } 3<"$2"
    if [ -z "$s" ]; then
      f "log.$1.stat"
      # It may have been renamed between the two looks.
      if [ -e "$2" ]; then echo "unreadable it cannot be opened for reading"; else echo missing; fi
    fi
  elif [ -e "$2" ]; then
    f "log.$1.stat"
    echo "unreadable it is not a regular file"
  elif [ -d "$d" ] && [ ! -x "$d" ]; then
    f "log.$1.stat"
    echo "unreadable its folder may not be entered"
  else
    f "log.$1.stat"
    echo missing
  fi
  if [ "$7" != 0 ] && [ "${s% *}" != "$6" ]; then
    r=$(t "$a" find "$d" -maxdepth 1 -type f -inum "$7" -print; echo .)
    r=${r%?.}
    [ -f "$r" ] || r=${r%%"$nl"*}
    [ -f "$r" ] && {
      s=$(stat -L -c '%d %i %s' /proc/$$/fd/3)
      [ "${s% *}" = "$6" ] && part "log.$1.old" "$3" "$4" "$5" "$s"
    } 3<"$r"
  fi
}

if [ -n "$full" ]; then
  if [ -n "$u" ]; then
    # Both at once: the address of a Windows that still boots stays silent for seconds.
    probe | {
      container
      f probe
      echo answered
      cat
    }
  else
    container
    f probe
    echo none
  fi
fi
