#!/usr/bin/env bash
# Runs every check of the project on a Debian machine that has Rust, Node and Python; what else they need
# is installed first. Stops at the first check that fails. `tests/run.sh --help` lists the checks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly checks=(fmt clippy build test conformance clients pypi login dashboard cluster bench instructions)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
readonly target
# The released binary has every database; the default build has none, and is only checked.
readonly features=(--features sql)
readonly example=(--manifest-path examples/single_login/Cargo.toml)
readonly example_target=(--target-dir "$target/examples")

usage() {
  cat <<'TEXT'
usage: tests/run.sh [CHECK…]

Without CHECK, all of these run, in this order:

  fmt           rustfmt has nothing to change, in the server and in examples/single_login
  clippy        clippy has no warning, in both
  build         the release build of the server
  test          the tests of both in Rust: unit tests, tests/it, documentation
  conformance   the kit of conformance/ against the release build: on one node, one with TLS, three nodes, and three behind nginx without
                and with a path prefix; docs/compatibility.md is what the kept runs give
  clients       pusher-js in Node and Laravel Echo in Chromium against the release build, for what is about this server alone
  pypi          PyPI's pusher against the release build, without TLS and with it
  login         examples/single_login with two browsers against the release build
  dashboard     the dashboard in Chromium, beside examples/single_login, real clients and axe-core
  cluster       clients and pypi again, each connection on a node by chance of three that share a redis-server; nodes that
                are restarted or killed; nginx and HAProxy before them
  bench         a short run of benches/fanout, to see that it works
  instructions  the hot path takes at most 5 % more instructions than benches/instructions.json says, counted by valgrind

The first that fails ends the run with a status other than 0.
TEXT
}

# --- What a machine may lack -----------------------------------------------------------------------------

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

install_debian_packages() {
  echo "Installing $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

need_linker() {
  command -v cc >/dev/null || install_debian_packages build-essential
}

need_chromium() {
  [[ -n ${CHROMIUM:-} || -x /usr/bin/chromium ]] || install_debian_packages chromium
}

# A certificate authority of the tests' own, which Chromium trusts by an NSS database.
need_authority() {
  command -v openssl >/dev/null || install_debian_packages openssl
  command -v certutil >/dev/null || install_debian_packages libnss3-tools
}

# Debian's packages may start services; the checks use none of them, and leave them as they are.
need_redis() {
  command -v redis-server >/dev/null || install_debian_packages redis-server
}

need_databases() {
  [[ -d /usr/lib/postgresql ]] || install_debian_packages postgresql
  command -v mariadbd >/dev/null || install_debian_packages mariadb-server
}

need_valgrind() {
  command -v valgrind >/dev/null || install_debian_packages valgrind
}

need_nginx() {
  [[ -x /usr/sbin/nginx ]] || install_debian_packages nginx
}

need_balancers() {
  need_nginx
  [[ -x /usr/sbin/haproxy ]] || install_debian_packages haproxy
}

# What reads the snippets of the documents, besides the proxies and Node.
need_readers() {
  python3 -c 'import yaml' 2>/dev/null || install_debian_packages python3-yaml
  command -v systemd-analyze >/dev/null || install_debian_packages systemd
  command -v php >/dev/null || install_debian_packages php-cli
}

# What `loudhailer doctor` is tried behind.
need_faulty_proxies() {
  need_balancers
  [[ -x /usr/bin/caddy ]] || install_debian_packages caddy
  [[ -x /usr/sbin/apache2 ]] || install_debian_packages apache2
  command -v openssl >/dev/null || install_debian_packages openssl
  command -v faketime >/dev/null || install_debian_packages faketime
}

# Installs what a lock file names, unless that was done before from the same lock file.
need_node_modules() {
  local directory=$1
  local installed=$directory/node_modules/.installed.json
  cmp -s "$directory/package-lock.json" "$installed" && return
  npm ci --prefix "$directory" --no-audit --no-fund
  cp "$directory/package-lock.json" "$installed"
}

need_client_modules() {
  need_node_modules conformance
  need_node_modules tests/clients
}

need_python_modules() {
  local venv=tests/clients/.venv
  cmp -s tests/clients/requirements.txt "$venv/installed.txt" && return
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages python3-venv
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --no-input --disable-pip-version-check -r tests/clients/requirements.txt
  cp tests/clients/requirements.txt "$venv/installed.txt"
}

need_release_build() {
  need_linker
  cargo build --locked --release "${features[@]}"
  export LOUDHAILER_BIN=$target/release/loudhailer
}

need_example() {
  need_release_build
  need_client_modules
  need_node_modules examples/single_login
  need_chromium
  cargo build --locked "${example[@]}" "${example_target[@]}"
  export SINGLE_LOGIN_BIN=$target/examples/debug/single-login
}

# --- The checks ------------------------------------------------------------------------------------------

check_fmt() {
  cargo fmt --check
  cargo fmt --check "${example[@]}"
}

check_clippy() {
  need_linker
  cargo clippy --locked --all-targets "${features[@]}" -- -D warnings
  cargo clippy --locked -- -D warnings
  cargo clippy --locked --all-targets "${example[@]}" "${example_target[@]}" -- -D warnings
}

check_build() {
  need_release_build
}

# The tests start servers, browsers and clusters, and share the machine with whatever else runs on it. So what fails is tried once more,
# and said to be: a fault of the server fails again.
rust_tests() {
  local log names
  log=$(mktemp)
  cargo test --locked "${features[@]}" --no-fail-fast 2>&1 | tee "$log" && return
  mapfile -t names < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
  ((${#names[@]} > 0 && ${#names[@]} <= 5)) || return 1
  echo "FAILED AT FIRST, tried again alone: ${names[*]}"
  RUST_TEST_THREADS=1 cargo test --locked "${features[@]}" --no-fail-fast -- --exact "${names[@]}" 2>&1 | tee "$log"
  (($(grep -c '^test .* \.\.\. ok$' "$log") == ${#names[@]}))
}

twice() {
  "$@" && return
  echo "FAILED AT FIRST, tried again: $*"
  "$@"
}

check_test() {
  need_linker
  need_redis
  need_balancers
  need_databases
  need_faulty_proxies
  need_readers
  # Most tests wait most of the time, for time-outs and for children.
  RUST_TEST_THREADS=$((2 * $(nproc))) rust_tests
  cargo test --locked "${example[@]}" "${example_target[@]}"
}

check_conformance() {
  need_release_build
  need_client_modules
  need_authority
  need_redis
  need_nginx
  (cd conformance && twice node --test --test-reporter=spec kit.test.mjs)
  node conformance/compatibility.mjs --check
  (cd tests/clients && node conformance.mjs)
}

check_clients() {
  need_release_build
  need_client_modules
  need_authority
  need_chromium
  (cd tests/clients && twice node --test --test-reporter=spec --test-timeout=120000 ./*.test.mjs)
}

check_pypi() {
  need_release_build
  need_client_modules
  need_python_modules
  need_authority
  (cd tests/clients && twice node server.mjs .venv/bin/python -B -m unittest)
  (cd tests/clients && twice node server.mjs --tls .venv/bin/python -B -m unittest)
}

check_login() {
  need_example
  (cd tests/clients && twice node example.mjs node --test --test-reporter=spec --test-timeout=120000 single_login/*.test.mjs)
}

check_dashboard() {
  need_example
  (cd tests/clients && twice node example.mjs node --test --test-concurrency=1 --test-reporter=spec --test-timeout=120000 dashboard/*.test.mjs)
}

check_cluster() {
  need_release_build
  need_client_modules
  need_python_modules
  need_authority
  need_chromium
  need_redis
  need_balancers
  local node_test=(node --test --test-reporter=spec --test-timeout=120000)
  (cd tests/clients && twice node cluster.mjs "${node_test[@]}" ./*.test.mjs cluster/*.test.mjs)
  (cd tests/clients && twice node cluster.mjs node server.mjs .venv/bin/python -B -m unittest)
}

check_bench() {
  need_linker
  need_redis
  cargo bench --locked "${features[@]}" --bench fanout -- smoke
}

check_instructions() {
  need_linker
  need_valgrind
  cargo bench --locked "${features[@]}" --bench fanout -- instructions
}

# --- The run ---------------------------------------------------------------------------------------------

current=
finish() {
  local status=$?
  if ((status != 0)) && [[ -n $current ]]; then
    echo
    echo "==> $current FAILED with status $status after $((SECONDS - began)) s"
  fi
}

selected=("$@")
for check in "$@"; do
  case $check in
    -h | --help) usage && exit ;;
  esac
  if [[ " ${checks[*]} " != *" $check "* ]]; then
    echo "tests/run.sh: there is no check «$check»" >&2
    usage >&2
    exit 2
  fi
done
((${#selected[@]})) || selected=("${checks[@]}")

# What configures a server or names a foreign host must not leak into the checks.
for name in $(compgen -e | grep -E '^(LOUDHAILER|PUSHER|SOKETI|REVERB)_' || true); do
  unset "$name"
done

trap finish EXIT
for check in "${selected[@]}"; do
  current=$check
  began=$SECONDS
  echo
  echo "==> $check"
  "check_$check"
  echo "==> $check: ok, $((SECONDS - began)) s"
done
current=
echo
echo "All checks passed in $SECONDS s: ${selected[*]}"
