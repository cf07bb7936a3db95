#!/bin/sh
# setup — installs what the demonstration and the tests stand on: Debian packages, then the npm packages of this folder.
#
# usage: sh demo/setup.sh [--tests]
#
# Says what it does, does only what is missing, asks nothing. Removes no package, starts no system service, configures
# no system daemon, and stops where another mail transport agent is installed. Exit: 0 all is there, 69 it can't be.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
policy=${SETUP_POLICY_RC_D:-/usr/sbin/policy-rc.d}
mark='# Temporary, by setup.sh of Sluice'

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 69
}

# Names of the packages in "$@" that are not installed.
missing_of() {
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
  for package in "$@"; do
    printf '%s\n' "$installed" | grep -qx "$package installed" || printf '%s ' "$package"
  done
}

# The installed mail transport agent other than Postfix, if there is one: Debian allows one only.
other_mta() {
  dpkg-query -W -f '${Package}\t${db:Status-Status}\t${Provides}\n' |
    awk -F '\t' '$2 == "installed" && $1 != "postfix" && $3 ~ /(^|, )mail-transport-agent/ { print $1; exit }'
}

# As root, from here on in a process of its own: one question by sudo at most.
install_packages() {
  if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    # invoke-rc.d(8) asks this file; 101 forbids to start a service. Never in the way of one that the machine has.
    trap 'rm -f "$policy"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
  fi
  case " $* " in
    *' postfix '*)
      # The machine's own Postfix stays unconfigured: the demonstration runs a private one.
      printf 'postfix postfix/main_mailer_type select No configuration\n' | debconf-set-selections
      ;;
  esac
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  apt-get -q -o DPkg::Lock::Timeout=120 update </dev/null || fail 'apt-get update failed: see above'
  apt-get -y -q -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold \
    --no-remove --no-install-recommends install "$@" </dev/null || fail 'apt-get install failed: see above'
}

debian_packages() {
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "This is no Debian system (no dpkg-query, no apt-get). Sluice's demonstration is made for Debian 12 or newer."
  missing=$(missing_of "$@")
  [ -n "$missing" ] || return 0
  case " $missing" in
    *' postfix '*)
      mta=$(other_mta)
      [ -z "$mta" ] || fail "$mta is installed, and Debian allows one mail transport agent only: Postfix would replace it." \
        'Nothing was changed. Remove it yourself, or take another machine or a container.'
      say 'Postfix is installed without a configuration ("No configuration"): the machine itself does no mail.'
      ;;
  esac
  say "installing Debian packages: $missing"
  # Word splitting is wanted: $missing is a list of names.
  if [ "$(id -u)" -eq 0 ]; then
    sh "$0" --install $missing
  elif command -v sudo >/dev/null; then
    say 'this needs root: sudo may ask for your password'
    sudo sh "$0" --install $missing
  else
    fail 'Neither root nor sudo. Let root run this, then try again:' \
      "  apt-get install --no-remove --no-install-recommends $missing"
  fi
  [ ! -d /run/systemd/system ] ||
    say 'no service was started; their units are as Debian sets them, so some may start at the next boot'
}

# PATH without folders of npm packages: npm ci is about to remove them.
system_path() {
  printf '%s' "$PATH" | tr ':' '\n' | grep -v '/node_modules/\.bin$' | paste -s -d : -
}

# Is the node on this PATH what package.json asks for under "engines"?
node_suffices() {
  PATH=$1 node -e '
    const wanted = /(\d+)\.(\d+)\.(\d+)/.exec(require(process.argv[1]).engines.node).slice(1);
    const found = process.versions.node.split(".");
    const at = wanted.findIndex((part, index) => Number(part) !== Number(found[index]));
    process.exit(at === -1 || Number(found[at]) > Number(wanted[at]) ? 0 : 1);
  ' "$top/package.json"
}

# npm_ci PATH [option]...; errors only: npm would warn at length that packages ask for a newer Node than it runs on.
npm_ci() {
  npm_path=$1
  shift
  (cd "$top" && PATH=$npm_path NODE_NO_WARNINGS=1 \
    npm ci --include=optional --no-audit --no-fund --loglevel=error "$@") || fail 'npm ci failed: see above'
  # npm 9 loses this link: it takes the one of the package for another processor away.
  for node in "$top"/node_modules/node-linux-*/bin/node; do
    [ ! -x "$node" ] || {
      mkdir -p "$top/node_modules/.bin"
      ln -sf "../${node#"$top/node_modules/"}" "$top/node_modules/.bin/node"
    }
  done
}

npm_packages() {
  stamp="$top/node_modules/.setup-done"
  lock=$(cksum <"$top/package-lock.json")
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$lock" ]; then
    path=$(system_path)
    PATH=$path command -v npm >/dev/null || fail 'npm is missing: apt-get install npm, or take Node from nodejs.org'
    say 'installing npm packages of this folder (npm ci), Node 24 among them'
    if node_suffices "$path"; then
      npm_ci "$path" --include=dev
    else
      # npm leaves optional packages out that do not suit the Node it runs on: first Node 24, then everything under it.
      npm_ci "$path" --omit=dev
      own=$(mktemp -d "$top/.setup-XXXXXX")
      trap 'rm -rf "$own"' EXIT
      trap 'exit 130' HUP INT TERM
      cp -L "$top/node_modules/.bin/node" "$own/node" 2>/dev/null || no_node
      npm_ci "$own:$path" --include=dev
    fi
    printf '%s\n' "$lock" >"$stamp"
  fi
  node_suffices "$top/node_modules/.bin:$PATH" || no_node
}

no_node() {
  fail "Node is too old and none came with npm ci for this machine ($(uname -m)):" \
    '  install the version that package.json names under "engines" from nodejs.org'
}

if [ "${1-}" = --install ]; then
  shift
  install_packages "$@"
  exit 0
fi
packages='postfix clamav-daemon spamassassin spamd spamc'
[ "${1-}" != --tests ] || packages="$packages strace iproute2 prometheus mandoc groff-base zsh fish redis-server openssh-server"
# What is shipped is built and judged with these (test/ship).
[ "${1-}" != --tests ] || packages="$packages systemd mmdebstrap buildah crun"
debian_packages $packages
npm_packages
say 'all is there'
