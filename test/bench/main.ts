/**
 * main — `npm run bench`: Sluice against its peers and against the bare scanners, written to docs/performance.md.
 *
 * usage: node test/bench/main.ts [--short | --smoke] [--case NAME]... [--rounds N] [--output FILE]
 *
 * A full run takes about a quarter of an hour and installs Debian's amavisd-new and clamsmtp where they are missing.
 * `--short`: fewer messages, three rounds. `--smoke`: no peers, one round, seconds. Only a full run of all cases writes the
 * file by itself. Needs root. Exit: 0 measured (whatever the figures say), 1 a run failed, 64 usage, 69 not root.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Case, cases, targets } from './cases.ts';
import { type ContestantName, Field } from './contestants.ts';
import { describeMachine, watchMachine } from './machine.ts';
import { type Circumstances, formatCase, formatReport, judge, type Measured } from './report.ts';
import { type Rig, startRig } from './rig.ts';
import { type Run, runOnce } from './run.ts';

type Plan = {
  readonly isSmoke: boolean;
  readonly cases: readonly Case[];
  readonly rounds: number;
  readonly output: string | null;
  readonly command: string;
};

const peers: readonly ContestantName[] = ['amavis', 'clamsmtp'];

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const plan = planOf(args);
  if (typeof plan === 'string') {
    process.stderr.write(`bench: ${plan}\n`);
    return 64;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write('bench: needs root, for smtp-sink and scanners that give their rights away\n');
    return 69;
  }
  const rig = await startRig({ isSmoke: plan.isSmoke });
  const field = new Field(rig);
  // Else Ctrl-C would leave the daemons behind.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void endEarly(rig, field));
  try {
    await measureAll(plan, rig, field);
  } finally {
    await field.stop();
    await rig.stop();
  }
  return 0;
}

async function endEarly(rig: Rig, field: Field): Promise<never> {
  process.stderr.write('bench: stopping what was started\n');
  await field.stop();
  await rig.stop();
  process.exit(130);
}

/** What the options ask for, or what is wrong with them. */
function planOf(args: readonly string[]): Plan | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        short: { type: 'boolean' },
        smoke: { type: 'boolean' },
        case: { type: 'string', multiple: true },
        rounds: { type: 'string' },
        output: { type: 'string' },
      },
    });
    const { short, smoke } = values;
    const unknown = values.case?.find((name) => !cases.some((one) => one.name === name));
    if (unknown !== undefined)
      return `no case ${unknown}; there are: ${cases.map(({ name }) => name).join(', ')}`;
    const rounds = values.rounds === undefined ? defaultRounds(short, smoke) : Number(values.rounds);
    if (!Number.isInteger(rounds) || rounds < 1)
      return `--rounds ${values.rounds}: a number from 1 on is needed`;
    const named = cases.filter(({ name }) => values.case?.includes(name) ?? true);
    const complete = !short && !smoke && values.case === undefined;
    const usual = complete ? join(import.meta.dirname, '..', '..', 'docs', 'performance.md') : null;
    return {
      isSmoke: smoke === true,
      cases: smoke ? named.flatMap(smokeCase) : short ? named.map(shortCase) : named,
      rounds,
      output: values.output ?? usual,
      command: ['npm run bench', ...(args.length === 0 ? [] : ['--', ...args])].join(' '),
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function defaultRounds(short: boolean | undefined, smoke: boolean | undefined): number {
  return smoke ? 1 : short ? 3 : 5;
}

function shortCase(one: Case): Case {
  return { ...one, load: { ...one.load, messages: one.shortMessages } };
}

/** Sluice and the bare scanners only, and of each kind of case the first. */
function smokeCase(one: Case): Case[] {
  if (!['both-5k', 'added-virus-5k', 'virus-275k-4', 'source-5k-16'].includes(one.name)) return [];
  const [us, ...others] = one.contestants;
  const rest = others.filter((name) => !peers.includes(name));
  return [{ ...one, contestants: [us, ...rest], load: { ...one.load, messages: 8 } }];
}

async function measureAll(plan: Plan, rig: Rig, field: Field): Promise<void> {
  const watched = watchMachine();
  const measured: Measured[] = [];
  for (const one of plan.cases) {
    const found = await measure(one, plan.rounds * (plan.isSmoke ? 1 : (one.roundsTimes ?? 1)), rig, field);
    measured.push(found);
    process.stdout.write(`${formatCase(found).join('\n')}\n`);
  }
  const about: Circumstances = {
    ...watched(),
    machine: describeMachine(),
    command: plan.command,
    rounds: plan.rounds,
  };
  const met = targets.flatMap((target) => judge(target, measured) ?? []);
  process.stdout.write(`${met.map(({ text }) => text).join('\n')}\n`);
  process.stdout.write(`foreign CPU share ${about.foreignShare.toFixed(2)}\n`);
  if (plan.output !== null) writeFileSync(plan.output, formatReport(measured, about));
}

/** Rounds of all contestants in turn, after one short round that does not count. */
async function measure(one: Case, rounds: number, rig: Rig, field: Field): Promise<Measured> {
  const runs = new Map<ContestantName, Run[]>(one.contestants.map((name) => [name, []]));
  const warmUp = { ...one.load, messages: Math.ceil(one.load.messages / 4) };
  for (const name of one.contestants) await runOnce(rig, name, await field.get(name), warmUp);
  for (let round = 0; round < rounds; round++) {
    for (const [name, done] of runs) {
      const run = await runOnce(rig, name, await field.get(name), one.load);
      done.push(run);
      const { perSecond, p50 } = run;
      process.stderr.write(
        `bench: ${one.name} ${name} ${perSecond.toFixed(1)}/s, p50 ${p50.toFixed(1)} ms\n`,
      );
    }
  }
  return { case: one, runs };
}
