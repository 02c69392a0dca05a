#!/usr/bin/env bash
# The outside world that the real tests need: a private Docker Engine and a private PostgreSQL, nothing of the machine's own.
#
#   tools/test-services.sh install                        Debian packages, only those missing (root)
#   tools/test-services.sh start DIR [docker] [postgres]  in the background; returns when they answer; then: . DIR/env
#   tools/test-services.sh run   DIR [docker] [postgres]  the same in the foreground, until SIGTERM
#   tools/test-services.sh stop  DIR                      ends them, their containers and mounts, and removes DIR
#
# One supervisor per DIR owns the daemons as its own children, because a PID 1 that reaps late leaves zombies whose pids block a
# restart. A daemon that dies (a test may kill it) is started again after half a second; stopping kills nothing that DIR did not start.
# containerd runs apart from dockerd and dockerd with --live-restore, so that a killed daemon does not take its containers along.
# The bridge is ours and iptables stays untouched: published ports go through docker's userland proxy, and the host keeps no rules.
set -euo pipefail

PACKAGES=(docker.io iptables busybox-static postgresql-15 prometheus systemd jq zsh fish)
READY_SECONDS_MAX=90
STOP_SECONDS_MAX=60
self=$(readlink -f "${BASH_SOURCE[0]}")

say() { printf 'test-services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '2,8s/^# \{0,1\}//p' "$self" >&2; exit 2; }

# --- packages ---------------------------------------------------------------------------------------------------------------------

install_packages() {
  local missing=() name
  for name in "${PACKAGES[@]}"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q ' installed$' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "missing packages: ${missing[*]}; as root: apt-get install -y --no-install-recommends ${missing[*]}"
  say "installing ${missing[*]}"
  # Without this the packages would start their own dockerd and PostgreSQL beside ours.
  local policy=/usr/sbin/policy-rc.d own_policy=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; own_policy=1
  fi
  local status=0
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2 || status=$?
  [ -z "$own_policy" ] || rm -f "$policy"
  return "$status"
}

# --- what the daemons are called --------------------------------------------------------------------------------------------------

tag() { printf '%s' "$dir" | cksum | cut -d' ' -f1; }
bridge_name() { printf 'hf%s' "$(tag)"; }           # ≤ 15 characters, as the kernel demands
cgroup_parent() { printf '/holdfast-test-%s' "$(tag)"; }
docker_() { docker -H "unix://$dir/docker.sock" "$@"; }

postgres_bin() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [ -x "$found/initdb" ] || die 'no PostgreSQL server found; run: tools/test-services.sh install'
  printf '%s' "$found"
}

# PostgreSQL refuses root. setpriv execs, so the pid that we wait for is PostgreSQL's own.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then echo setpriv --reuid=postgres --regid=postgres --clear-groups; fi
}

# --- containerd and dockerd -------------------------------------------------------------------------------------------------------

make_bridge() {
  local name n
  name=$(bridge_name)
  ip link delete "$name" 2>/dev/null || true
  ip link add "$name" type bridge 2>>"$dir/log/supervisor.log" || return 1
  for n in $(seq 10 250); do
    # A subnet that no other bridge of this machine has (two services directories side by side).
    ip -4 -o addr show | grep -q " 172\.30\.$n\." && continue
    ip addr add "172.30.$n.1/24" dev "$name" && ip link set "$name" up && return 0
  done
  return 1
}

prepare_docker() {
  mkdir -p "$dir/containerd" "$dir/docker"
  printf '{}\n' >"$dir/docker/daemon.json"   # not the machine's /etc/docker/daemon.json
  cat >"$dir/containerd/config.toml" <<TOML
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd/opt"
TOML
  network=none
  if command -v ip >/dev/null && make_bridge; then network=bridge; else say 'no bridge possible here: containers get no network'; fi
}

run_containerd() {
  exec containerd --config "$dir/containerd/config.toml" --root "$dir/containerd/root" --state "$dir/containerd/state" \
    --address "$dir/containerd.sock"
}

run_dockerd() {
  local bridge=none
  [ "$network" = bridge ] && bridge=$(bridge_name)
  rm -f "$dir/docker.pid"   # dockerd refuses to start when the pid in it still exists, even as a zombie or as somebody else's
  wait_until 30 test -S "$dir/containerd.sock" || exit 1
  exec dockerd --config-file "$dir/docker/daemon.json" --containerd "$dir/containerd.sock" --data-root "$dir/docker/data" \
    --exec-root "$dir/docker/exec" --pidfile "$dir/docker.pid" -H "unix://$dir/docker.sock" --group "$(id -gn)" \
    --bridge="$bridge" --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false --live-restore \
    --cgroup-parent "$(cgroup_parent)" --shutdown-timeout 5
}

# The test images are built from the machine's busybox and perl: nothing is pulled. `noshell` holds one program and no shell.
import_images() {
  local busybox root=$dir/image applet
  busybox=$(command -v busybox) || die 'no busybox found; run: tools/test-services.sh install'
  mkdir -p "$root"/{bin,dev,proc,sys,run,etc,root,tmp,var/tmp,usr,home/app}
  cp "$busybox" "$root/bin/busybox"
  for applet in $("$busybox" --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
  ln -s bin "$root/sbin"; ln -s ../bin "$root/usr/bin"; ln -s ../bin "$root/usr/sbin"
  printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\napp:x:1000:\n' >"$root/etc/group"
  chmod 700 "$root/root"; chmod 1777 "$root/tmp" "$root/var/tmp"; chown -R 1000:1000 "$root/home/app"
  local path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  tar -C "$root" --numeric-owner -c . | docker_ import -c "$path" -c 'CMD ["/bin/sh"]' - holdfast-test/busybox:1 >/dev/null
  rm -rf "$root"
  mkdir -p "$root/bin" "$root/etc"
  cp "$busybox" "$root/bin/sleep"   # busybox acts as the program whose name it is called by
  printf 'root:x:0:0:root:/root:/bin/sleep\n' >"$root/etc/passwd"
  tar -C "$root" --numeric-owner -c . | docker_ import -c 'CMD ["/bin/sleep","3600"]' - holdfast-test/noshell:1 >/dev/null
  rm -rf "$root"
  if command -v perl >/dev/null; then import_perl; fi
}

# Any Debian image has a perl; this one holds nothing else.
import_perl() {
  local root=$dir/image perl library
  perl=$(readlink -f "$(command -v perl)")
  mkdir -p "$root/usr/bin" "$root/tmp"
  # /usr/lib may be what /lib is a link to; the program asks for both names.
  for library in $(ldd "$perl" | grep -o '/[^ ]*'); do mkdir -p "$root${library%/*}"; cp -L "$library" "$root$library"; done
  cp "$perl" "$root/usr/bin/perl"
  for library in $("$perl" -e 'use strict; use Socket; print join "\n", values %INC, grep { -e } map { "$_/auto/Socket/Socket.so" } @INC'); do
    mkdir -p "$root${library%/*}"; cp -L "$library" "$root$library"
  done
  tar -C "$root" --numeric-owner -c . | docker_ import -c 'CMD ["/usr/bin/perl","-v"]' - holdfast-test/perl:1 >/dev/null
  rm -rf "$root"
}

stop_containers() {
  local ids
  ids=$(timeout 10 docker -H "unix://$dir/docker.sock" ps -aq 2>/dev/null) || return 0
  # shellcheck disable=SC2086
  [ -z "$ids" ] || timeout 30 docker -H "unix://$dir/docker.sock" rm -f $ids >/dev/null 2>&1 || true
}

# Shims outlive both daemons by design. Ours carry the address of our containerd as an argument; each has its container as a child.
stop_shims() {
  local proc pid child command
  for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    command=$(tr '\0' ' ' 2>/dev/null <"$proc/cmdline") || continue
    [[ $command == *containerd-shim*" -address $dir/containerd.sock "* ]] || continue
    for child in $(cat "$proc"/task/*/children 2>/dev/null); do kill -KILL "$child" 2>/dev/null || true; done
    kill -KILL "$pid" 2>/dev/null || true
  done
}

remove_cgroups() {
  local hierarchy
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -d "$hierarchy$(cgroup_parent)" ] || continue
    find "$hierarchy$(cgroup_parent)" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

# --- PostgreSQL -------------------------------------------------------------------------------------------------------------------

prepare_postgres() {
  local bin
  bin=$(postgres_bin)
  mkdir -p "$dir/postgres"
  [ "$(id -u)" != 0 ] || chown postgres "$dir/postgres"
  chmod 700 "$dir/postgres"
  # shellcheck disable=SC2046
  (cd / && $(as_postgres) "$bin/initdb" -D "$dir/postgres/data" -U postgres -A trust -E UTF8 --locale=C >"$dir/log/initdb.log" 2>&1) ||
    { tail -n 5 "$dir/log/initdb.log" >&2; die 'initdb failed'; }
  port=$(free_port)
}

free_port() {
  local candidate
  for _ in $(seq 100); do
    candidate=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null || { printf '%s' "$candidate"; return 0; }
  done
  die 'no free port between 20000 and 30000'
}

run_postgres() {
  local bin
  bin=$(postgres_bin)
  cd /
  # Not synced: tests kill servers, never the machine, and a database per test file would wait for the disk most of its time. The embedded
  # PostgreSQL is tested with fsync on.
  # shellcheck disable=SC2046
  exec $(as_postgres) "$bin/postgres" -D "$dir/postgres/data" -k "$dir/postgres" -p "$port" -c listen_addresses=127.0.0.1 \
    -c max_connections=200 -c shared_buffers=64MB -c fsync=off -c full_page_writes=off
}

# --- the supervisor ---------------------------------------------------------------------------------------------------------------

wait_until() {   # wait_until SECONDS COMMAND…
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.1; done
}

declare -A child=()   # daemon name -> pid

spawn() {
  "run_$1" >>"$dir/log/$1.log" 2>&1 &
  child[$1]=$!
  printf '%s\n' "${child[$1]}" >"$dir/$1.daemon.pid"
}

finish_child() {   # finish_child NAME SIGNAL
  local pid=${child[$1]:-}
  [ -n "$pid" ] || return 0
  kill "-$2" "$pid" 2>/dev/null || true
  wait_until 15 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  unset "child[$1]"
}

is_gone() {   # a zombie is gone: it holds nothing any more
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  stat=${stat##*) }
  [ "${stat%% *}" = Z ]
}

# Children first, newest first; then whatever they left in the kernel. Only then is DIR removed.
shut_down() {
  trap '' TERM INT HUP
  set +e
  rm -f "$dir/ready"
  if [ -n "${child[dockerd]:-}" ]; then stop_containers; finish_child dockerd TERM; fi
  if [ -n "${child[containerd]:-}" ]; then stop_shims; finish_child containerd TERM; fi
  finish_child postgres INT
  if [ "${network:-none}" = bridge ]; then ip link delete "$(bridge_name)" 2>/dev/null; fi
  remove_cgroups
  local mounted
  awk -v below="$dir/" 'index($5, below) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mounted; do umount -l "$mounted"; done
  if [ -n "${HOLDFAST_TEST_KEEP_LOGS:-}" ]; then mkdir -p "$HOLDFAST_TEST_KEEP_LOGS"; cp "$dir"/log/* "$HOLDFAST_TEST_KEEP_LOGS"/; fi
  rm -rf "$dir"
}

write_env() {
  {
    if [ -n "$want_docker" ]; then
      echo "export HOLDFAST_TEST_DOCKER_SOCKET=$dir/docker.sock"
      echo "export HOLDFAST_TEST_DOCKER_NETWORK=$network"
    fi
    if [ -n "$want_postgres" ]; then echo "export HOLDFAST_TEST_DATABASE_URL=postgresql://postgres@127.0.0.1:$port/postgres"; fi
  } >"$dir/env"
}

supervise() {
  umask 022
  mkdir -p "$dir/log"
  chmod 755 "$dir"   # the postgres user must pass, also below a mktemp -d
  [ -z "$want_docker" ] || [ "$(id -u)" = 0 ] || die 'a private dockerd needs root; without it: start DIR postgres'
  trap 'exit 143' TERM; trap 'exit 130' INT; trap 'exit 129' HUP
  trap shut_down EXIT
  printf '%s %s\n' "$$" "$(start_time $$)" >"$dir/supervisor.pid"
  if [ -n "$want_docker" ]; then prepare_docker; spawn containerd; spawn dockerd; fi
  if [ -n "$want_postgres" ]; then prepare_postgres; spawn postgres; fi
  if [ -n "$want_docker" ]; then
    wait_until 60 docker_ version || { tail -n 5 "$dir/log/dockerd.log" >&2; die 'dockerd does not answer'; }
    import_images
  fi
  if [ -n "$want_postgres" ]; then
    wait_until 30 "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$port" || { tail -n 5 "$dir/log/postgres.log" >&2; die 'PostgreSQL does not answer'; }
  fi
  write_env
  : >"$dir/ready"
  keep_alive
}

keep_alive() {
  local name ended
  while :; do
    ended=; wait -n -p ended "${child[@]}" || true
    # The directory is the lease: somebody who removed it wants no daemons any more.
    [ -e "$dir/ready" ] || return 0
    for name in "${!child[@]}"; do
      [ "${child[$name]}" = "$ended" ] || continue
      printf '%s %s (pid %s) ended; starting it again\n' "$(date +%T)" "$name" "$ended" >>"$dir/log/supervisor.log"
      sleep 0.5
      spawn "$name"
    done
  done
}

start_time() { local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0; stat=${stat##*) }; set -- $stat; printf '%s' "${20}"; }

# pid AND start time: a reused pid is never signalled
supervisor_pid() {
  local pid started
  [ -r "$dir/supervisor.pid" ] || return 1
  read -r pid started <"$dir/supervisor.pid" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && ! is_gone "$pid" && printf '%s' "$pid"
}

start() {
  if supervisor_pid >/dev/null; then
    [ -e "$dir/ready" ] || die "services in $dir are just starting or ending"
    say "already running: . $dir/env"; return 0
  fi
  [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || die "$dir is not empty and nothing runs there; remove it first"
  mkdir -p "$dir/log"
  setsid "$self" run "$dir" ${want_docker:+docker} ${want_postgres:+postgres} >"$dir/log/supervisor.log" 2>&1 </dev/null &
  local pid=$!
  wait_until "$READY_SECONDS_MAX" ready_or_gone "$pid"
  [ -e "$dir/ready" ] || { cat "$dir/log/supervisor.log" >&2 2>/dev/null || true; die 'the services did not start'; }
  say "running: . $dir/env"
}

ready_or_gone() { [ -e "$dir/ready" ] || is_gone "$1"; }

stop() {
  local pid
  pid=$(supervisor_pid) || { say "nothing runs in $dir"; return 0; }
  kill -TERM "$pid"
  wait_until "$STOP_SECONDS_MAX" is_gone "$pid" || die "supervisor $pid did not end"
}

main() {
  local part
  verb=${1:-}
  if [ "$verb" = install ]; then install_packages; return; fi
  [ $# -ge 2 ] || usage
  dir=$(readlink -m "$2")
  [ ${#dir} -le 80 ] || die "$dir is too long for unix sockets below it (107 bytes)"
  want_docker='' want_postgres=''
  for part in "${@:3}"; do
    case $part in docker) want_docker=1 ;; postgres) want_postgres=1 ;; *) usage ;; esac
  done
  [ -n "$want_docker$want_postgres" ] || { want_docker=1; want_postgres=1; }
  case $verb in
    run) if supervisor_pid >/dev/null; then die "already running in $dir"; fi; supervise ;;
    start) start ;;
    stop) stop ;;
    *) usage ;;
  esac
}

# One line, so that bash has read it all before it runs: the file may be edited while a supervisor lives.
main "$@"; exit
