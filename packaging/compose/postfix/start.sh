#!/bin/sh
# start — Postfix in the foreground. Each variable POSTFIX_name is written into main.cf as the parameter `name`.
set -eu

env | sed -n 's/^POSTFIX_\([a-z0-9_]*=\)/\1/p' | while IFS= read -r setting; do
  postconf -e "$setting"
done
exec postfix start-fg
