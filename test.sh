#!/usr/bin/env bash
# Installs what is missing, then runs everything: format, lints, the runner's tests, all tests on SQLite and on PostgreSQL.
# `./test.sh --long` adds what takes longer. The last line is `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")" || exit 1

long=false
for word in "$@"; do
    case "$word" in
        --long) long=true ;;
        *) echo "usage: ./test.sh [--long]" >&2; exit 2 ;;
    esac
done

passed=0 failed=0 skipped=0 broken=()
work=$(mktemp -d)
postgres=
daemons=
beside=
trap 'stop_postgres; [ -z "$beside" ] || { kill "$beside"; wait "$beside"; } 2>/dev/null; rm -rf "$work"' EXIT

# part NAME COMMAND… : runs a part, shows how long it took, counts it as one test unless it counted its own.
part() {
    local name=$1 start=$SECONDS counted=$((passed + failed))
    shift
    printf '\n== %s\n' "$name"
    if "$@"; then
        [ $((passed + failed)) -gt $counted ] || passed=$((passed + 1))
        printf '== %s: good, %d s\n' "$name" $((SECONDS - start))
    else
        [ $((passed + failed)) -gt $counted ] && [ "${last_failed:-0}" -gt 0 ] || failed=$((failed + 1))
        broken+=("$name")
        printf '== %s: FAILED, %d s\n' "$name" $((SECONDS - start))
    fi
    last_failed=0
}

skip() {
    skipped=$((skipped + 1))
    printf '\n== SKIPPED %s: %s\n' "$1" "$2"
}

# On a machine that has built nothing yet there is nothing to go on from: keeping notes for it only costs time.
[ -d target/debug ] || export CARGO_INCREMENTAL=0

# Programs that the tests stand on; as root on Debian they are installed, elsewhere the parts that need them are skipped.
install() {
    local missing=()
    command -v bwrap >/dev/null || missing+=(bubblewrap)
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing+=(postgresql)
    command -v psql >/dev/null || missing+=(postgresql-client)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v python3 >/dev/null || missing+=(python3)
    command -v curl >/dev/null || missing+=(curl)
    command -v redis-server >/dev/null || missing+=(redis-server)
    if [ "$(id -u)" -eq 0 ]; then
        command -v dockerd >/dev/null || missing+=(docker.io)
        command -v docker-registry >/dev/null || missing+=(docker-registry)
        command -v debootstrap >/dev/null || missing+=(debootstrap)
        command -v openssl >/dev/null || missing+=(openssl)
        command -v ip >/dev/null || missing+=(iproute2)
    fi
    [ ${#missing[@]} -eq 0 ] && { install_s3; return 0; }
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]} (install them as root: apt-get install ${missing[*]})"
        install_s3
        return 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq "${missing[@]}" >"$work/apt.log" 2>&1 || { tail -5 "$work/apt.log"; return 1; }
    install_s3
}

# A server of S3 for the tests of objects, once; without it they are skipped.
install_s3() {
    [ -x target/moto/bin/moto_server ] && return 0
    mkdir -p target && python3 -m venv target/moto >"$work/moto.log" 2>&1 &&
        target/moto/bin/pip install -q 'moto[s3]' flask flask-cors >>"$work/moto.log" 2>&1 ||
        { echo "moto cannot be installed: $(tail -1 "$work/moto.log")"; rm -rf target/moto; }
    return 0
}

# Most tests wait for processes more than they compute.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) * 2))}"

# cargo_test NAME ARGS… : runs the suite and adds its numbers.
cargo_test() {
    local log="$work/$1.log" code p f
    shift
    cargo test --test it "$@" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    p=$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    f=$(sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    # A test that cannot run here says so by name; it has passed without testing anything.
    s=$(grep -h '^SKIPPED ' "$log" | sort -u | wc -l)
    passed=$((passed + p - s)) failed=$((failed + f)) skipped=$((skipped + s)) last_failed=$f
    [ "$code" -eq 0 ]
}

# A private PostgreSQL on a socket and a loopback port of its own, without any safety: it is thrown away.
start_postgres() {
    local bin=
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
    [ -n "$bin" ] && [ -x "$bin/initdb" ] || return 1
    postgres="$work/postgres"
    mkdir "$postgres"
    as=()
    if [ "$(id -u)" -eq 0 ]; then
        chmod 711 "$work" && chown postgres "$postgres"
        as=(setpriv --reuid postgres --regid postgres --clear-groups)
    fi
    "${as[@]}" "$bin/initdb" -D "$postgres/data" -U postgres -A trust -E UTF8 --no-sync >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log"; return 1; }
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "${as[@]}" "$bin/pg_ctl" -D "$postgres/data" -l "$postgres/log" -w -s \
        -o "-p $port -k $postgres -c fsync=off -c full_page_writes=off -c max_connections=400" start || { cat "$postgres/log"; return 1; }
    pg_ctl=("${as[@]}" "$bin/pg_ctl" -D "$postgres/data")
    export TEST_DATABASE_URL="postgresql://postgres:x@127.0.0.1:$port/postgres"
}

stop_postgres() {
    [ -n "$postgres" ] && [ -d "$postgres/data" ] && "${pg_ctl[@]}" -m immediate -s stop >/dev/null 2>&1
    postgres=
}

# These have parts of their own.
by_daemons=(--skip conformance::docker_conforms --skip conformance::a_swarm_conforms)
# What PostgreSQL answers otherwise than SQLite, or where both are open at one time: it runs on PostgreSQL, if there is one.
postgres_alone=(cli::copy api::bad_input::requests api::matrix pressure:: bulk_mail::)
on_sqlite() {
    local skips=("${by_daemons[@]}") name
    env -u TEST_DATABASE_URL cargo test --test it --no-run >/dev/null 2>&1
    $long || ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || for name in "${postgres_alone[@]}"; do skips+=(--skip "$name"); done
    TEST_DATABASE_URL= cargo_test sqlite -- "${skips[@]}"
}
# What has nothing to do with the database has run already: sandbox, keeper, archives, the interpreter, what a script may do,
# the death of a keeper, limits that are counted in memory, programs that only speak HTTP.
beside_the_database=(engine:: build:: net:: cli::run_local cli::check cli::demo cli::client promises::files promises::network
    promises::neighbour conformance:: promises::sandbox promises::costs api::bad_input::scripts api::bad_input::requirements api::bad_input::fuzz
    api::mend api::platform durability::moments::a_build durability::moments::a_run durability::moments::a_server_that_is_asked
    limits::a_front_end limits::a_classroom redis:: clients:: promises::secrets objects:: fernet:: api::maintenance
    api::scripts::secrets api::status::cluster)
on_postgres() {
    local skips=() name
    $long || for name in "${beside_the_database[@]}"; do skips+=(--skip "$name"); done
    cargo_test postgres -- "${skips[@]}"
}
python_tests() {
    python3 -m unittest discover -s tests/python 2>&1 | tee "$work/python.log"
    local code=${PIPESTATUS[0]} n
    n=$(sed -n 's/^Ran \([0-9]*\) tests\?.*/\1/p' "$work/python.log")
    [ "$code" -eq 0 ] && passed=$((passed + ${n:-0}))
    return "$code"
}

part "install what is missing" install
part "format" cargo fmt --check
part "lints" cargo clippy --all-targets -- -D warnings
part "the runner in Python" python_tests
part "tests on SQLite" on_sqlite
# An engine of containers: KIND (daemon or swarm) and the name of its test. `tests/docker/KIND` starts it and says what to set.
containers() {
    local settings code
    daemons="tests/docker/$1 down $docker/$1"
    settings=$(tests/docker/"$1" up "$docker/$1")
    code=$?
    if [ $code -eq 0 ]; then
        export $settings
        TEST_DATABASE_URL= part "the engine of a $1" cargo_test "$1" -- --exact "$2"
    else
        skip "the engine of a $1" "$(tail -1 <<<"$settings")"
    fi
    $daemons
    daemons=
}
# Both engines, in a shell of their own: they wait for containers most of the time. What came of them is left in a file.
engines() {
    trap '[ -z "$daemons" ] || $daemons' EXIT
    trap 'exit 1' TERM
    passed=0 failed=0 skipped=0 broken=()
    containers daemon conformance::docker_conforms
    containers swarm conformance::a_swarm_conforms
    printf '%s\n' "$passed" "$failed" "$skipped" "${broken[*]}" >"$work/engines"
}
# The image's files stay: they take a minute to make.
docker=${TE_TEST_DOCKER_DIR:-/var/tmp/trends-earth-tests}
mkdir -p "$docker"
(engines) >"$work/engines.log" 2>&1 &
beside=$!
if start_postgres; then
    part "tests on PostgreSQL" on_postgres
    stop_postgres
else
    skip "tests on PostgreSQL" "PostgreSQL is not installed and cannot be installed here"
fi
wait "$beside"
beside=
cat "$work/engines.log"
if [ -e "$work/engines" ]; then
    { read -r p; read -r f; read -r s; read -r names; } <"$work/engines"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ -z "$names" ] || broken+=("$names")
else
    failed=$((failed + 1)) broken+=("the engines of containers")
fi
if command -v cargo-deny >/dev/null; then
    part "licences and bans" cargo deny --offline check bans licenses sources
else
    skip "licences and bans" "cargo-deny is not installed (cargo install cargo-deny)"
fi
if $long; then
    part "200 kills on SQLite" env TEST_DATABASE_URL= TE_TEST_KILLS=200 cargo test --test it durability
    part "10,000 letters, two kills" env TEST_DATABASE_URL= TE_TEST_LETTERS=10000 cargo test --test it -- bulk_mail::everybody
    part "200 cancels, 200 containers, a million filters, random bodies" env TEST_DATABASE_URL= TE_TEST_CANCELS=200 TE_TEST_CONTAINERS=200 \
        TE_TEST_BODIES=200 TE_TEST_FILTERS=1000000 cargo test --test it -- pressure:: api::bad_input::fuzz search::
fi

printf '\n'
[ ${#broken[@]} -gt 0 ] && printf 'failed: %s\n' "${broken[*]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ ${#broken[@]} -eq 0 ]
