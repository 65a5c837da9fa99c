# What the poll runs beside the benchmark: in the container, or on the VM if there is none. Read by `sh -s` inside braces.
# The header sets: pattern, storage (the folder whose disk counts), vm (not empty outside containers).
# The pattern reaches pgrep only, which never counts itself: no shell has it in its command line. Another program that
# looks for the same benchmark at this moment has it there, too: a pgrep is never the benchmark.
exec </dev/null 2>/dev/null
set -f
p=$(pgrep -f -- "$pattern")
r=$?
found=
case $r in
0)
  for i in $p; do
    l=
    read -r l </proc/"$i"/stat || continue
    case $l in "$i (pgrep) "*) continue ;; esac
    # After the name in brackets come the fields from the third on; the start time is field 22.
    set -- ${l##*) }
    echo "process $i ${20:-0}"
    found=1
  done
  [ -n "$found" ] || echo "process none"
  ;;
1) echo "process none" ;;
126 | 127) echo "process failed there is no pgrep" ;;
*) echo "process failed pgrep ended with status $r" ;;
esac

# Header of seven words, then: file system, total, used.
set -- $(df -Pk "$storage")
echo "storage ${10} $9"

m= x=
if [ -n "$vm" ]; then
  while read -r k v _; do
    case $k in
    MemTotal:) x=$v ;;
    MemAvailable:) m=$v; break ;;
    esac
  done </proc/meminfo
  echo "memory $(((x - m) * 1024)) $((x * 1024))"
elif [ -r /sys/fs/cgroup/memory.current ]; then
  read -r m </sys/fs/cgroup/memory.current
  read -r x </sys/fs/cgroup/memory.max
  echo "memory $m ${x:-max}"
elif [ -r /sys/fs/cgroup/memory/memory.usage_in_bytes ]; then
  read -r m </sys/fs/cgroup/memory/memory.usage_in_bytes
  read -r x </sys/fs/cgroup/memory/memory.limit_in_bytes
  echo "memory $m ${x:-max}"
fi

# Port 7200 is 1C20; 0A is LISTEN.
grep -qsE '^ *[0-9]+: [0-9A-F]+:1C20 [0-9A-F]+:0000 0A' /proc/net/tcp /proc/net/tcp6
case $? in
0) echo "qemu open" ;;
126 | 127) ;;
*) [ -r /proc/net/tcp ] && echo "qemu closed" ;;
esac
echo done
