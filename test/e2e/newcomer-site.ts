/**
 * newcomer-site — a Debian machine on which docs/install.md is done, block by block, and what is seen is compared.
 *
 * `stock`: this machine's own packages with the configuration that Debian ships, in a few seconds; `fresh`: a system that
 * debootstrap made, with every package as the page says. What is not as on a real machine is `replaced`, and that is all.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createMachine, type Machine } from './machine.ts';
import { packSluice } from './packed.ts';
import { missing, type Section, sectionsOf } from './page.ts';
import { dailySignatures } from './signatures.ts';

const top = join(import.meta.dirname, '..', '..');
export const pageFile = join(top, 'docs', 'install.md');

/** Everything that is otherwise than on the machine of somebody who reads the page. */
export const replaced = {
  both: [
    'systemctl: there is no systemd; systemctl.sh starts what the unit files say, without their conditions and confinement',
    "ClamAV's signatures: one, EICAR, dated today, in place of a download of 300 MB",
    'the server inside: smtp-sink(1), which keeps what it gets',
    'the network: none but loopback, except for apt-get and npm',
  ],
  stock: ['apt-get: the packages are there already', 'npm install --global: the same archive, unpacked'],
} as const;

/** Where a unit listens once it is up. */
const places: Readonly<Record<string, { readonly port: number } | { readonly socket: string }>> = {
  'clamav-daemon': { socket: '/var/run/clamav/clamd.ctl' },
  spamd: { port: 783 },
  postfix: { port: 25 },
  sluice: { port: 10023 },
};

const insideFolder = '/var/inside';
const modules = '/usr/local/lib/node_modules';

export type NewcomerSite = {
  readonly machine: Machine;
  readonly sections: readonly Section[];
  /** Types all blocks of a section and looks whether the page says what is seen. */
  readonly walk: (section: Section) => Promise<void>;
  /** What the server inside has got, oldest first, once there are so many. */
  readonly inside: (count: number) => Promise<string[]>;
  readonly stop: () => Promise<void>;
};

/** A machine before the first block. `fresh`: the folder of a whole system; null: this machine's own files. `folder`: for temporary files. */
export async function startNewcomer(folder: string, fresh: string | null): Promise<NewcomerSite> {
  const archive = packSluice(folder);
  const sluiceModules = join(modules, 'sluice', 'node_modules');
  const machine = await createMachine({
    hostname: 'mx.example.com',
    system: fresh,
    binds: fresh === null ? { [sluiceModules]: join(top, 'node_modules') } : {},
  });
  try {
    if (fresh === null) await makeStock(machine);
    await prepare(machine, archive);
    if (fresh === null) await startInside(machine);
    return {
      machine,
      sections: sectionsOf(readFileSync(pageFile, 'utf8')),
      walk: (section) => walk(machine, section, fresh !== null),
      inside: (count) => inside(machine, count),
      stop: () => machine.stop(),
    };
  } catch (cause) {
    await machine.stop();
    throw cause;
  }
}

/** What Debian's packages write when they are installed, over whatever this machine has. */
async function makeStock(machine: Machine): Promise<void> {
  await machine.must(`
    ! getent passwd sluice || deluser --quiet sluice
    rm -rf /etc/sluice /var/lib/sluice /etc/systemd/system/sluice.service /var/lib/clamav/* /var/lib/spamassassin/bayes*
    rm -rf /etc/postfix/main.cf /var/spool/postfix/*/* /usr/local/bin/sluice /usr/local/bin/node
    cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
    printf '127.0.0.1 localhost\\n127.0.1.1 mx.example.com mx\\n' > /etc/hosts
    echo mx.example.com > /etc/mailname
    echo 'postmaster: root' > /etc/aliases
    find /etc/spamassassin -name '*.cf' ! -name 65_debian.cf -delete
    touch /etc/spamassassin/local.cf`);
  const stock = join(import.meta.dirname, 'stock');
  copyFileSync(join(stock, 'main.cf'), machine.path('/etc/postfix/main.cf'));
  copyFileSync(join(stock, 'clamd.conf'), machine.path('/etc/clamav/clamd.conf'));
  copyFileSync(join(stock, 'spamd'), machine.path('/etc/default/spamd'));
  await machine.must('newaliases');
}

async function prepare(machine: Machine, archive: string): Promise<void> {
  const systemctl = machine.path('/usr/local/sbin/systemctl');
  copyFileSync(join(import.meta.dirname, 'systemctl.sh'), systemctl);
  copyFileSync(archive, machine.path('/root/sluice-0.1.0.tgz'));
  mkdirSync(machine.path('/var/lib/clamav'), { recursive: true });
  writeFileSync(machine.path('/var/lib/clamav/daily.cud'), dailySignatures(0));
  // A Bayes database of root's own, from whoever taught this machine's sa-learn, would be found where none must be.
  await machine.must(`rm -rf /root/.spamassassin
    chmod 755 /usr/local/sbin/systemctl
    install -d -m 0755 -o nobody ${insideFolder}`);
}

async function walk(machine: Machine, section: Section, isFresh: boolean): Promise<void> {
  for (const { script, seen } of section.steps) {
    const network = isFresh && /^(?:apt-get|npm) /m.test(script);
    const typed = isFresh ? script : withoutNetwork(script);
    // What only looks is looked at again: mail takes its time.
    const until = Date.now() + (/^sluice (?:history|quarantine list)/.test(script) ? 30_000 : 0);
    for (;;) {
      const { code, stdout, stderr } = await machine.run(typed, { network });
      assert.equal(code, 0, `exit ${code} of ${typed}${stdout}${stderr}`);
      if (missing(stdout + stderr, seen) === null || Date.now() > until) {
        assert.equal(missing(stdout + stderr, seen), null, `is not seen in: ${stdout}${stderr}`);
        break;
      }
      await delay(100);
    }
    await untilUp(machine, script);
  }
}

/** Lines of apt-get and npm as `replaced.stock` says. */
function withoutNetwork(script: string): string {
  const unpack = `tar -xzf /root/sluice-0.1.0.tgz --strip-components=1 -C ${modules}/sluice
    chmod 755 ${modules}/sluice/bin/sluice.js
    ln -s ../lib/node_modules/sluice/bin/sluice.js /usr/local/bin/sluice
    ln -s ../lib/node_modules/sluice/node_modules/.bin/node /usr/local/bin/node`;
  return script
    .replaceAll(/^apt-get .*\n/gm, '')
    .replace(/^npm install --global .*$/m, unpack)
    .replace(/^npm uninstall --global .*$/m, 'rm /usr/local/bin/sluice');
}

/** Waits for the daemons that a script starts: somebody who reads on does not type the next block within a second. */
export async function untilUp(machine: Machine, script: string): Promise<void> {
  for (const [, unit = ''] of script.matchAll(/^systemctl (?:start|restart|enable --now) (\S+)$/gm)) {
    const place = places[unit];
    if (place !== undefined) await machine.untilListens(place);
  }
}

async function inside(machine: Machine, count: number): Promise<string[]> {
  const folder = machine.path(insideFolder);
  const until = Date.now() + 60_000;
  for (;;) {
    const files = readdirSync(folder);
    if (files.length >= count) return files.map((file) => readFileSync(join(folder, file), 'latin1'));
    if (Date.now() > until) throw new Error(`The server inside has ${files.length} messages, not ${count}`);
    await delay(50);
  }
}

/** Asserts that of the two messages of the page the good one was delivered, marked, and the spam is held. */
export async function assertFiltered({ machine, inside }: NewcomerSite): Promise<void> {
  // The probe of `sluice check` is the other one.
  const delivered = await inside(2);
  const good = delivered.filter((text) => /^Subject: Good morning/m.test(text));
  assert.equal(good.length, 1);
  assert.match(good[0] ?? '', /^X-Virus-Scanned: yes \(Sluice \S+ at mx\.example\.com\)\r?$/m);
  const held = await machine.must('sluice quarantine list --json');
  assert.equal((held.match(/Buy now/g) ?? []).length, 1, held);
  assert.ok(delivered.every((text) => !text.includes('Buy now')));
  assert.match(await machine.must('postqueue -p'), /Mail queue is empty/);
}

/** Stops Sluice and lets a message with this subject wait for it in the queue. */
export async function letOneWait({ machine }: NewcomerSite, subject: string): Promise<void> {
  await machine.must(`systemctl stop sluice
    ${letter(subject)}
    until postqueue -j | grep -q '"queue_name": "deferred"'; do sleep 0.1; done`);
}

/** Ends the outage. */
export async function startAgain({ machine }: NewcomerSite): Promise<void> {
  const script = 'systemctl start sluice';
  await machine.must(script);
  await untilUp(machine, script);
}

/** Asserts that one message with this subject comes to the server inside, and what its header must have. */
export async function assertArrived(site: NewcomerSite, subject: string, has: RegExp): Promise<void> {
  const text = await arrived(site, subject);
  assert.match(text, has);
}

/** Asserts that mail arrives as on a plain relay, what waited in the queue too, and that nothing of Sluice is left running. */
export async function assertGone(site: NewcomerSite): Promise<void> {
  await site.machine.must(letter('Afterwards'));
  for (const subject of ['Waiting', 'Afterwards'])
    assert.doesNotMatch(await arrived(site, subject), /^X-(?:Virus|Spam)-/m);
  const running = await site.machine.must('cat /proc/[0-9]*/cmdline | tr "\\0" " "');
  assert.doesNotMatch(running, /sluice run/);
}

/** The one message with this subject, once nothing is in the queue any more. */
async function arrived({ machine, inside }: NewcomerSite, subject: string): Promise<string> {
  await machine.must('until postqueue -p | grep -q "queue is empty"; do sleep 0.1; done');
  const [text, ...others] = (await inside(1)).filter((one) => one.includes(`Subject: ${subject}`));
  assert.ok(text !== undefined && others.length === 0, subject);
  return text;
}

function letter(subject: string): string {
  return `smtp-source -f you@example.net -t someone@example.com -S ${subject} 127.0.0.1:25`;
}

/** Starts the server inside, on a network of its own behind a cable: Postfix listens on every address of this one. */
export async function startInside(machine: Machine): Promise<void> {
  await machine.must(`
    setsid unshare --net sh -c '
      until ip link set eth0 up 2>/dev/null; do sleep 0.05; done
      ip address add 192.0.2.10/24 dev eth0
      exec smtp-sink -u nobody -d ${insideFolder}/mail. 192.0.2.10:25 100' </dev/null >/var/log/inside.log 2>&1 &
    until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
    ip link add inside type veth peer name eth0 netns $!
    ip address add 192.0.2.1/24 dev inside
    ip link set inside up`);
}
