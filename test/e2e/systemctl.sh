#!/bin/sh
# systemctl — stands in for systemd's in a machine that has none: starts what a unit file says, as the user it names.
#
# usage: systemctl start|stop|restart|enable|disable|daemon-reload|is-active [--now] [UNIT]...
#
# Reads ExecStart, User, EnvironmentFile and StateDirectory of the unit; conditions, order and confinement it leaves out.
# What a unit says goes to /var/log/unit-NAME.log.
set -eu

unit_file() {
  for folder in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
    [ ! -e "$folder/$1.service" ] || { echo "$folder/$1.service"; return; }
  done
  echo "Unit $1.service not found." >&2
  return 5
}

# value FILE KEY
value() { sed -n "s/^$2=-\{0,1\}//p" "$1" | tail -n 1; }

is_active() {
  case $1 in
    postfix) postfix status >/dev/null 2>&1 ;;
    *) [ -e "/run/unit-$1.pid" ] && kill -0 "$(cat "/run/unit-$1.pid")" 2>/dev/null ;;
  esac
}

start() {
  file=$(unit_file "$1")
  ! is_active "$1" || return 0
  case $1 in
    postfix) # postfix@-.service
      /usr/lib/postfix/configure-instance.sh - >>/var/log/unit-postfix.log 2>&1
      postmulti -i - -p start >>/var/log/unit-postfix.log 2>&1
      return
      ;;
    clamav-daemon) install -d -o clamav -g clamav /run/clamav ;; # clamav-daemon.socket makes it
  esac
  user=$(value "$file" User)
  folder=$(value "$file" StateDirectory)
  [ -z "$folder" ] || install -d -m "$(value "$file" StateDirectoryMode)" -o "$user" -g "$user" "/var/lib/$folder"
  (
    environment=$(value "$file" EnvironmentFile)
    set -a
    [ -z "$environment" ] || . "$environment"
    exec setsid setpriv --reuid="${user:-root}" --regid="${user:-root}" --init-groups \
      sh -c "exec $(value "$file" ExecStart)"
  ) </dev/null >>"/var/log/unit-$1.log" 2>&1 &
  echo $! >"/run/unit-$1.pid"
}

stop() {
  is_active "$1" || return 0
  [ "$1" != postfix ] || { postmulti -i - -p stop >>/var/log/unit-postfix.log 2>&1; return; }
  tries=0
  while is_active "$1"; do
    # Again each second: a spamd that is still starting does not hear the first one.
    [ $((tries % 20)) -ne 0 ] || kill "$(cat "/run/unit-$1.pid")" 2>/dev/null || :
    tries=$((tries + 1))
    sleep 0.05
  done
  rm "/run/unit-$1.pid"
}

verb=$1
shift
now=
units=
for word; do
  case $word in
    --now) now=yes ;;
    *) units="$units ${word%.service}" ;;
  esac
done
for unit in $units; do
  case $verb in
    start | stop) "$verb" "$unit" ;;
    restart) stop "$unit" && start "$unit" ;;
    enable) unit_file "$unit" >/dev/null && { [ -z "$now" ] || start "$unit"; } ;;
    disable) [ -z "$now" ] || stop "$unit" ;;
    is-active) is_active "$unit" ;;
    *) echo "Unknown command verb $verb." >&2; exit 1 ;;
  esac
done
