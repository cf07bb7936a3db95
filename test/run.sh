#!/bin/sh
# run — npm test: everything that must hold before a change is done, cheapest first; stops at the first failure.
#
# usage: sh test/run.sh
#
# Works in a clean checkout, as root or as a user with sudo (the demonstration, test/ship and test/e2e need root).
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$top"

# Each step is a script of package.json, run by Node itself: an old npm can't run on our Node. No test may hold up the
# rest: each has a limit, and a file whose tests are done ends, whatever a failed one left open (--test-timeout, --test-force-exit).
step() {
  printf '\n== %s\n' "$1"
  shift
  "$@" || {
    printf '\nnpm test: failed at: %s\n' "$*" >&2
    exit 1
  }
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo env "PATH=$PATH" "NODE_COMPILE_CACHE=$NODE_COMPILE_CACHE" "$@"; fi
}

step 'setup' sh demo/setup.sh --tests
PATH="$top/node_modules/.bin:$PATH:/usr/sbin:/sbin"
# Hundreds of processes start from the sources: each would strip types and compile anew (half of its start).
NODE_COMPILE_CACHE="$top/node_modules/.cache/node-compile"
export PATH NODE_COMPILE_CACHE
[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || {
  echo 'npm test: Postfix needs root, and there is no sudo: run npm test as root' >&2
  exit 69
}
step 'types' node --run types
step 'format' node --run format:check
step 'lint' node --run lint
step 'rooms' node --run rooms
step 'unit tests' node --run unit
step 'demonstration' as_root node demo/main.ts --once
step 'what is shipped: units, image, Debian package, compose.yaml' as_root node --run ship:short
step 'end to end, with the real daemons' as_root node --run e2e
step 'scans over Redis, with workers in other processes' as_root node --run redis
step 'the Bayes database from node to node, with faults' as_root node --run bayes:short
printf '\nnpm test: all steps passed\n'
