#!/bin/sh
# start — npm start: setup, then the demonstration (demo/main.ts) under the Node that came with npm ci.
#
# usage: sh demo/start.sh [--once]
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
sh "$top/demo/setup.sh"

# Daemons live in /usr/sbin, which an ordinary user's PATH lacks.
PATH="$top/node_modules/.bin:$PATH:/usr/sbin:/sbin"
export PATH
[ "$(id -u)" -ne 0 ] || exec node "$top/demo/main.ts" "$@"

command -v sudo >/dev/null || {
  echo 'start: Postfix needs root, and there is no sudo: run npm start as root' >&2
  exit 69
}
echo 'start: Postfix needs root, even a private one: going on with sudo, which may ask for your password'
exec sudo env "PATH=$PATH" node "$top/demo/main.ts" "$@"
