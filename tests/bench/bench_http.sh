#!/bin/sh
# bench_http.sh — GET beside nginx `return 200`, and POST answered by another thread, in the same run.
#
#   bench_http.sh [BUILD_DIR]      ROUNDS=5 SECONDS_EACH=1
#
# wrk (one thread) shares the machine with the server. Servers take turns; each figure is the median of the rounds.
# "cpu" is processor time of the server per request: steadier than throughput on a busy machine. Prints one line a
# figure: name, connections, requests/s, CPU us/request, share of nginx (throughput, CPU), floor, aim. Exit 1 when a
# share is under its floor, 77 when wrk or nginx is missing.
set -eu
build=${1:-${ODTO_BUILDDIR:-.}}
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-1}
PATH=$PATH:/usr/sbin
echo=$build/tests/helpers/http_echo
[ -x "$echo" ] || { echo "bench_http: no $echo: make tests/helpers/http_echo, or make bench"; exit 1; }
for tool in wrk nginx; do
    command -v $tool >/dev/null || { echo "bench_http: no $tool (Debian: apt-get install $tool)"; exit 77; }
done
dir=$(mktemp -d)
nginx_pid='' echo_pid=''
finish() {
    [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || :
    exec 3>&- 2>/dev/null || :
    [ -z "$echo_pid" ] || wait "$echo_pid" 2>/dev/null || :
    [ -z "$nginx_pid" ] || wait "$nginx_pid" 2>/dev/null || :
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
body='{\"totalJobs\":12345,\"completedJobs\":12000,\"failedJobs\":345,\"lastEventTime\":\"2025-01-01T00:00:00.000Z\"}'
cat >"$dir/nginx.conf" <<EOF
daemon off; worker_processes 1; pid $dir/pid; error_log $dir/error.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path $dir/body; proxy_temp_path $dir/proxy;
  fastcgi_temp_path $dir/fastcgi; uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
  server { listen 127.0.0.1:$port; default_type application/json; location / { return 200 "$body"; } } }
EOF
cat >"$dir/post.lua" <<'EOF'
wrk.method = "POST"
wrk.body = string.rep("x", 310)
wrk.headers["Content-Type"] = "application/json"
EOF
nginx -c "$dir/nginx.conf" 2>/dev/null &
nginx_pid=$!
mkfifo "$dir/in"
"$echo" 127.0.0.1:0 commit=200 <"$dir/in" >"$dir/out" &
echo_pid=$!
exec 3>"$dir/in"
until grep -q port "$dir/out" && wrk -t1 -c1 -d1s "http://127.0.0.1:$port/" >/dev/null; do
    { kill -0 $echo_pid && kill -0 $nginx_pid; } 2>/dev/null || { echo "bench_http: nginx or $echo ended"; exit 1; }
done
ours=$(awk '/port/ { print $2; exit }' "$dir/out")
worker=$(cat /proc/$nginx_pid/task/$nginx_pid/children)
worker=${worker%% *}
hz=$(getconf CLK_TCK)

ticks() { # user + system time of a process
    sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}
measure() { # name pid url connections [wrk options]: appends "rps us" to $dir/NAME.C
    name=$1 pid=$2 url=$3 c=$4
    shift 4
    before=$(ticks "$pid")
    wrk -t1 "-c$c" "-d${seconds}s" "$@" "$url" >"$dir/wrk"
    after=$(ticks "$pid")
    if grep -q 'Non-2xx\|Socket errors' "$dir/wrk"; then
        echo "bench_http: $name at $c connections: $(grep 'Non-2xx\|Socket errors' "$dir/wrk")" >&2
        exit 1
    fi
    awk -v t=$((after - before)) -v hz="$hz" '/requests in/ { n = $1 } /Requests\/sec/ { r = $2 }
        END { printf "%d %.2f\n", r, 1e6 * t / hz / n }' "$dir/wrk" >>"$dir/$name.$c"
}
median() { # file column
    sort -n -k "$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'
}

for c in 64 1000; do
    i=0
    while [ $i -lt "$rounds" ]; do
        measure nginx "$worker" "http://127.0.0.1:$port/" $c
        measure get $echo_pid "http://127.0.0.1:$ours/hello" $c
        measure post $echo_pid "http://127.0.0.1:$ours/async" $c -s "$dir/post.lua"
        i=$((i + 1))
    done
done

status=0
printf '%-28s %6s %9s %8s %7s %7s %6s %5s\n' figure conns req/s cpu_us share cpu floor aim
for c in 64 1000; do
    [ $c = 64 ] && floor=0.5 aim=0.8 || { floor=0.3 aim=0.6; }
    nr=$(median "$dir/nginx.$c" 1) nc=$(median "$dir/nginx.$c" 2)
    printf '%-28s %6d %9d %8s\n' "nginx return 200" $c "$nr" "$nc"
    for name in get post; do
        r=$(median "$dir/$name.$c" 1) u=$(median "$dir/$name.$c" 2)
        [ $name = get ] && label="GET" limits="$floor $aim" || { label="POST, answered by a thread"; limits='- -'; }
        awk -v l="$label" -v c=$c -v r="$r" -v u="$u" -v nr="$nr" -v nc="$nc" -v lim="$limits" 'BEGIN {
            split(lim, f, " "); share = r / nr
            printf "%-28s %6d %9d %8s %7.2f %7.2f %6s %5s\n", l, c, r, u, share, nc / u, f[1], f[2]
            exit f[1] != "-" && share < f[1] }' || status=1
    done
done
exit $status
