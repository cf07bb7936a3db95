/**
 * quarantine-child — a process that puts or claims, told by arguments, so that a test can kill it or fail its disk.
 *
 * put FOLDER FILE COUNT [STEP]: waits for a line, puts COUNT items, stops for ever at STEP. claim FOLDER FILE: reads
 * lines `id from to` and claims slot 0 and 1. ledger FILE: commits one entry for each line. Each answers in one line.
 */
import { createInterface } from 'node:readline';
import { openLedger } from '../../filter/ledger.ts';
import { openQuarantine, type RecipientState } from '../../filter/quarantine.ts';
import { chunksOf, messageOf, spamFor } from './quarantine-rig.ts';
import { recordingLog } from './store-rig.ts';

const [mode, folder = '', file = '', ...rest] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const log = recordingLog();

if (mode === 'put') await put(Number(rest[0]), rest[1]);
else if (mode === 'claim') await claim();
else if (mode === 'ledger') await ledger(folder);
else throw new Error(`unknown mode ${mode}`);
process.exit(0);

async function put(count: number, stopAt: string | undefined): Promise<void> {
  const quarantine = await openQuarantine({
    folder,
    file,
    log,
    onStep: async (step) => {
      if (step !== stopAt) return;
      say(`at ${step}`);
      // For ever: whoever started us kills us here. Standard input keeps the process alive.
      await new Promise(() => undefined);
    },
  });
  await quarantine.reconcile();
  say('ready');
  await lines.next();
  for (let number = 0; number < count; number++) {
    const item = spamFor(['one@example.com', 'two@example.com'], { queueId: `Q${number}` });
    const outcome = await quarantine.put(item, chunksOf(messageOf())).catch((error: unknown) => error);
    say(outcome instanceof Error ? `${outcome.name}: ${outcome.message}` : `held ${String(outcome)}`);
  }
  say('done');
}

async function claim(): Promise<void> {
  const quarantine = await openQuarantine({ folder, file, log });
  say('ready');
  for await (const line of { [Symbol.asyncIterator]: () => lines }) {
    const [id = '', from, to] = line.split(' ');
    const won = await quarantine.claim(id, [0, 1], from as RecipientState, to as RecipientState, 'child');
    say(won.join(' '));
  }
}

async function ledger(path: string): Promise<void> {
  const opened = await openLedger({ file: path, log });
  say('ready');
  for await (const key of { [Symbol.asyncIterator]: () => lines }) {
    const entry = {
      key,
      queueId: 'Q',
      outcome: 'delivered',
      queueIdOut: null,
      quarantineId: null,
      reply: { code: 250, enhanced: '2.0.0', text: 'Ok' },
      at: 1,
    } as const;
    const outcome = await opened.commit([entry]).catch((error: unknown) => error);
    say(outcome instanceof Error ? `${outcome.name}: ${outcome.message}` : 'committed');
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
