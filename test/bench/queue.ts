/**
 * queue — `npm run bench:queue`: what scans over Redis cost against scans in one process, written to docs/performance-queue.md.
 *
 * usage: node test/bench/queue.ts [--short] [--part door|filter|scaling]... [--output FILE]
 *
 * A full run takes some three minutes. Only a full run of all parts writes the file by itself. What is compared runs in turn in the same
 * run, so that what disturbs the machine disturbs both. Needs root, for smtp-sink. Exit: 0 measured (whatever the figures say), 1 a
 * run failed, 64 usage.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, watchMachine } from './machine.ts';
import { measureDoor, measureFilter, measureScaling, type Size } from './queue-parts.ts';
import { formatQueueReport, type Measured } from './queue-report.ts';
import { startQueueRig } from './queue-rig.ts';

const parts = ['door', 'filter', 'scaling'] as const;

const full: Size = { rounds: 5, messages: 4000, alone: 400, perSlot: 50 };
const short: Size = { rounds: 1, messages: 300, alone: 50, perSlot: 5 };

process.exitCode = await main(process.argv.slice(2));
// Doors of this process may still hold a connection that is being made.
process.exit();

async function main(args: readonly string[]): Promise<number> {
  const plan = planOf(args);
  if (typeof plan === 'string') {
    process.stderr.write(`bench: ${plan}\n`);
    return 64;
  }
  const watched = watchMachine();
  const found = await measure(plan);
  const text = formatQueueReport(found, {
    ...watched(),
    machine: describeMachine(['redis-server', 'postfix']),
    command: ['npm run bench:queue', ...(args.length === 0 ? [] : ['--', ...args])].join(' '),
    rounds: plan.size.rounds,
  });
  process.stdout.write(text);
  if (plan.output !== null) writeFileSync(plan.output, text);
  return 0;
}

type Plan = {
  readonly size: Size;
  readonly parts: readonly (typeof parts)[number][];
  readonly output: string | null;
};

/** What the options ask for, or what is wrong with them. */
function planOf(args: readonly string[]): Plan | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        short: { type: 'boolean' },
        part: { type: 'string', multiple: true },
        output: { type: 'string' },
      },
    });
    const unknown = values.part?.find((name) => !parts.some((part) => part === name));
    if (unknown !== undefined) return `no part ${unknown}; there are: ${parts.join(', ')}`;
    const isWhole = values.short !== true && values.part === undefined;
    const usual = isWhole ? join(import.meta.dirname, '..', '..', 'docs', 'performance-queue.md') : null;
    return {
      size: values.short === true ? short : full,
      parts: parts.filter((part) => values.part?.includes(part) ?? true),
      output: values.output ?? usual,
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function measure({ size, parts: wanted }: Plan): Promise<Measured> {
  await using stack = new AsyncDisposableStack();
  const rig = stack.adopt(await startQueueRig(), (one) => one.stop());
  // Else Ctrl-C would leave the daemons behind.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void rig.stop().finally(() => process.exit(130)));
  const is = (part: (typeof parts)[number]) => wanted.includes(part);
  return {
    door: is('door') ? await measureDoor(rig, size) : null,
    filter: is('filter') ? await measureFilter(rig, size) : null,
    scaling: is('scaling') ? await measureScaling(rig, size) : null,
  };
}
