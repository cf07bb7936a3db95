/**
 * completion — command lines completed by real shells: bash and zsh at a terminal with TAB, fish by `complete -C`.
 *
 * What a line has become is seen by running it: the `sluice` on PATH prints the words that it got, unless it is asked
 * for ids, as the scripts do; then it is the real one, with a quarantine.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { completionFor, type Shell } from '../../review/completion.ts';
import { temporaryFolder } from '../folder.ts';
import { sluice, spam, startDesk } from './desk-rig.ts';
import { quoted, startOnTerminal } from './pty.ts';

/** What is typed, a tabulator at the end; and the words that it becomes. {id} is a held message's, {cut} its beginning. */
const lines: readonly (readonly [string, readonly string[]])[] = [
  ['sluice quar', ['quarantine']],
  ['sluice che', ['check']],
  ['sluice quarantine rel', ['quarantine', 'release']],
  ['sluice policy ex', ['policy', 'explain']],
  ['sluice import a', ['import', 'amavis']],
  ['sluice help quarantine sea', ['help', 'quarantine', 'search']],
  ['sluice --vers', ['--version']],
  ['sluice --config x quarantine de', ['--config', 'x', 'quarantine', 'delete']],
  ['sluice postfix --fe', ['postfix', '--feed']],
  ['sluice postfix --feed l', ['postfix', '--feed', 'lmtp']],
  ['sluice quarantine learn fo', ['quarantine', 'learn', 'forget']],
  [
    'sluice quarantine release --recipient a@b.test --ag',
    ['quarantine', 'release', '--recipient', 'a@b.test', '--again'],
  ],
  ['sluice quarantine release --all-match', ['quarantine', 'release', '--all-matching']],
  ['sluice completion f', ['completion', 'fish']],
  ['sluice scan ./mess', ['scan', './message.eml']],
  ['sluice scan message.eml --conf', ['scan', 'message.eml', '--config']],
  ['sluice scan --config ./slu', ['scan', '--config', './sluice.yaml']],
  ['sluice check --postfix-config ./fol', ['check', '--postfix-config', './folder/']],
  ['sluice check --spamd-user nobo', ['check', '--spamd-user', 'nobody']],
  [
    'sluice --config sluice.yaml quarantine show {cut}',
    ['--config', 'sluice.yaml', 'quarantine', 'show', '{id}'],
  ],
  [
    'sluice --config sluice.yaml quarantine learn ham {cut}',
    ['--config', 'sluice.yaml', 'quarantine', 'learn', 'ham', '{id}'],
  ],
  // Nothing to offer: who may not list gets no ids and no complaint, and there is no list of recipients.
  [
    'sluice --config none.yaml quarantine show {cut}',
    ['--config', 'none.yaml', 'quarantine', 'show', '{cut}'],
  ],
  ['sluice policy explain mess', ['policy', 'explain', 'mess']],
  ['sluice frobnicate qua', ['frobnicate', 'qua']],
];

/** A folder with things to complete, and the `sluice` described above in front of PATH. */
async function startShellRig(t: TestContext, shell: Shell) {
  const rig = await startDesk(t);
  const id = await rig.put(spam(['a@b.test']));
  const folder = join(rig.config, '..');
  const bin = temporaryFolder(t);
  const real = `${quoted(process.execPath)} ${quoted(sluice)}`;
  const script = `#!/bin/sh\ncase "$*" in *'quarantine list'*) exec ${real} "$@" ;; esac\nprintf '<%s>' "$@"; echo .\n`;
  writeFileSync(join(bin, 'sluice'), script, { mode: 0o755 });
  // On a busy machine two seconds are not enough for Node to start.
  writeFileSync(join(bin, 'timeout'), '#!/bin/sh\nshift\nexec "$@"\n', { mode: 0o755 });
  writeFileSync(join(folder, 'message.eml'), '');
  mkdirSync(join(folder, 'folder'));
  const file = join(bin, shell === 'zsh' ? '_sluice' : `sluice.${shell}`);
  writeFileSync(file, completionFor(shell));
  const path = `${bin}:${process.env.PATH}`;
  const filled = (text: string) => text.replaceAll('{id}', id).replaceAll('{cut}', id.slice(0, 8));
  const become = lines.map(([typed, words]) => [filled(typed), words.map(filled)] as const);
  return { folder, bin, file, path, become, id };
}

/** Types every line into the shell; what `sluice` said of each. */
async function completedBy(
  shell: string,
  { folder, path, become }: Awaited<ReturnType<typeof startShellRig>>,
) {
  const terminal = startOnTerminal(`cd ${quoted(folder)}; PS1=; export PS1; ${shell}`, {
    environment: { PATH: path },
  });
  terminal.type(become.map(([typed]) => `${typed}\t\r`).join('') + 'exit\r');
  const { screen } = await terminal.end();
  const said = [...screen.matchAll(/((?:<[^<>]*>)+)\.\r/g)].map(([, words = '']) =>
    words.slice(1, -1).split('><'),
  );
  assert.deepEqual(
    said,
    become.map(([, words]) => words),
    screen,
  );
}

test('sluice completion bash: the script completes in a real bash', async (t) => {
  const rig = await startShellRig(t, 'bash');
  const start = join(rig.bin, 'bashrc');
  writeFileSync(start, `bind 'set bell-style none'\n. ${quoted(rig.file)}\n`);
  await completedBy(`bash --noprofile --rcfile ${quoted(start)} -i`, rig);
});

test('sluice completion zsh: the script completes in a real zsh, found in its fpath', async (t) => {
  const rig = await startShellRig(t, 'zsh');
  const start = `fpath=(${quoted(rig.bin)} $fpath); unsetopt beep promptsp auto_remove_slash; PROMPT=; autoload -Uz compinit; compinit -u -D\n`;
  writeFileSync(join(rig.bin, '.zshrc'), start);
  await completedBy(`ZDOTDIR=${quoted(rig.bin)} zsh -d -i`, rig);
});

test('sluice completion fish: the script completes in a real fish', async (t) => {
  const { folder, bin, file, path, become } = await startShellRig(t, 'fish');
  const commands = become.map(([typed]) => `echo '>>'; complete -C ${quoted(typed)}`);
  const { error, stdout, stderr } = spawnSync(
    'fish',
    ['--no-config', '-c', [`source ${file}`, ...commands].join('\n')],
    {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, PATH: path, HOME: bin },
    },
  );
  assert.equal(error, undefined, 'fish is not there: sh demo/setup.sh --tests installs it');
  assert.equal(stderr, '');
  const offered = stdout
    .split('>>\n')
    .slice(1)
    .map((text) => text.split('\n').map((line) => line.split('\t')[0]));
  for (const [at, [typed, words]] of become.entries()) {
    const last = typed.split(' ').at(-1) ?? '';
    const wanted = words.at(-1) === last ? [] : [words.at(-1)];
    assert.deepEqual(
      offered[at]?.filter((word) => word !== ''),
      wanted,
      typed,
    );
  }
});

test('sluice completion bash offers every command and every option of one', () => {
  const script = completionFor('bash');
  const ask = (line: string) => {
    const words = `${script}\nCOMP_LINE=$1 COMP_POINT=\${#1}; _sluice sluice; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return spawnSync('bash', ['--norc', '-c', words, 'bash', line], { encoding: 'utf8' })
      .stdout.trim()
      .split('\n');
  };
  assert.deepEqual(
    ask('sluice '),
    'run check postfix scan history completion policy quarantine queue bayes import help'.split(' '),
  );
  assert.deepEqual(ask('sluice scan x --'), ['--to', '--from', '--config', '--json', '--help']);
  assert.deepEqual(ask('sluice quarantine learn '), ['spam', 'ham', 'forget']);
  assert.deepEqual(ask('sluice postfix --feed='), ['lmtp', 'smtp']);
  assert.deepEqual(ask('sluice quarantine search '), ['']);
});
