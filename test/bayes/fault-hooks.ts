/**
 * fault-hooks — loaded into `sluice` by `node --import` for the fault tests: what happens as a named step of a Bayes run begins,
 * another clock, another version of Sluice.
 *
 * SLUICE_TEST_STEP=load SLUICE_TEST_DO=kill|truncate|garble · SLUICE_TEST_CLOCK=+86400000 · SLUICE_TEST_VERSION=wire|manifest|database.
 * SLUICE_TEST_MEMORY=1: the most memory (VmHWM) of each process stands in the file `memory` beside sluice.yaml at its end.
 * A step that was reached stands in the file `reached` beside sluice.yaml. The program itself knows nothing of this: its sources are changed as they are loaded. A change that finds nothing to change
 * is an error.
 */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { dirname, join } from 'node:path';

const home = dirname(process.argv[process.argv.indexOf('--config') + 1] ?? '');

type Change = { readonly file: string; readonly from: string; readonly to: string };

const { SLUICE_TEST_STEP, SLUICE_TEST_DO, SLUICE_TEST_CLOCK, SLUICE_TEST_VERSION, SLUICE_TEST_MEMORY } =
  process.env;

const actions: Readonly<Record<string, () => void>> = {
  kill: () => void process.kill(process.pid, 'SIGKILL'),
  truncate: () => spoil((file, bytes) => truncateSync(file, bytes.length >> 1)),
  garble: () =>
    spoil((file, bytes) => {
      const at = bytes.length >> 1;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      writeFileSync(file, bytes);
    }),
};

const versions: Readonly<Record<string, readonly Change[]>> = {
  wire: [{ file: 'bayes-wire.ts', from: 'const version = 1;', to: 'const version = 2;' }],
  manifest: [
    { file: 'bayes-manifest.ts', from: 'z.literal(1)', to: 'z.literal(2)' },
    { file: 'bayes-export.ts', from: 'format: 1,', to: 'format: 2 as unknown as 1,' },
  ],
  database: [
    { file: 'bayes-export.ts', from: 'const { dbVersion, nspam', to: 'const dbVersion = 9; const { nspam' },
  ],
};

const stepBegins: Change = {
  file: 'bayes-step.ts',
  from: 'under = name;',
  to: 'under = name; globalThis.sluiceTestStep?.(name);',
};

const changes = [...(versions[SLUICE_TEST_VERSION ?? ''] ?? []), stepBegins];

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const wanted = changes.filter(({ file }) => url.endsWith(`/workers/${file}`));
    if (wanted.length === 0) return loaded;
    let source = textOf(loaded.source);
    for (const { from, to } of wanted) {
      if (!source.includes(from)) throw new Error(`Cannot change ${url}: it holds no "${from}"`);
      source = source.replace(from, to);
    }
    return { ...loaded, source };
  },
});

let isDone = false;

Object.assign(globalThis, {
  sluiceTestStep(step: string) {
    // A step may begin for each piece that is sent.
    if (step !== SLUICE_TEST_STEP || isDone) return;
    isDone = true;
    writeFileSync(join(home, 'reached'), `${step}\n`, { flag: 'a' });
    actions[SLUICE_TEST_DO ?? '']?.();
  },
});

if (SLUICE_TEST_CLOCK !== undefined) {
  const [aheadMs, now] = [Number(SLUICE_TEST_CLOCK), Date.now.bind(Date)];
  Date.now = () => now() + aheadMs;
}

function textOf(source: string | ArrayBuffer | NodeJS.TypedArray | undefined): string {
  return typeof source === 'string' ? source : Buffer.from(source as ArrayBuffer).toString();
}

if (SLUICE_TEST_MEMORY !== undefined)
  process.on('exit', () => {
    const kilobytes = process.resourceUsage().maxRSS;
    const words = process.argv
      .slice(2)
      .filter((word) => word !== '--config' && word !== join(home, 'sluice.yaml'));
    writeFileSync(join(home, 'memory'), `${Math.ceil(kilobytes / 1024)} ${words.join(' ')}\n`, { flag: 'a' });
  });

/** The dump of the newest snapshot that was exported here. */
function spoil(how: (file: string, bytes: Buffer) => void): void {
  const folder = join(home, 'state', 'bayes', 'exported');
  const newest = readdirSync(folder)
    .filter((name) => /^\d+$/.test(name))
    .toSorted((a, b) => Number(b) - Number(a))[0];
  const file = join(folder, newest ?? '', 'bayes.gz');
  how(file, readFileSync(file));
}
