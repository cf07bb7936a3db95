#!/bin/sh
# start — signatures first (clamd does not start without any), then clamd, with freshclam beside it.
set -eu

until [ -n "$(find /var/lib/clamav -name '*.c[vl]d' -o -name '*.ndb')" ]; do
  freshclam || sleep 60
done
freshclam --daemon &
exec clamd
