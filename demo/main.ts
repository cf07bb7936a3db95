/**
 * main — npm start: real mail through a real Postfix, Sluice, clamd and spamd, for everybody to see.
 *
 * usage: node demo/main.ts [--once]
 *
 * Sends three samples, prints what became of each and where to look, and keeps running for more until Ctrl-C, which
 * ends every process and removes the folder. With --once it ends by itself: 0 if all three outcomes are right, else 1
 * with the ends of the logs, and the folder stays.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Outcome, outcomesOf } from './outcome.ts';
import { createReachableFolder } from './postfix-folders.ts';
import { createSamples, sendMessage } from './samples.ts';
import { createStack, signaturesOfMachine, type Stack, sluiceCommand } from './stack.ts';

const say = (text: string) => void process.stdout.write(`${text}\n`);

process.exitCode = await run(process.argv.includes('--once'));
// Daemons that were still on their way up when we were interrupted end with us (daemon.ts).
process.exit();

async function run(once: boolean): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write('demo: Postfix needs root: run npm start, which asks sudo\n');
    return 69;
  }
  const interrupted = interruption();
  const signatures = signaturesOfMachine();
  const folder = await createReachableFolder('sluice-demo');
  const stack = createStack({ folder, signatures, ...mailOwner() });
  say(
    `Starting Postfix, clamd, spamd and Sluice in ${folder}${signatures === 'system' ? ' (real signatures: half a minute)' : ''}`,
  );
  let code = 1;
  try {
    code = await Promise.race([demonstrate(stack.start(), signatures, once, interrupted), interrupted]);
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  }
  say('\nEnding Postfix, Sluice, clamd and spamd');
  await stack.stop();
  if (code === 1) say(`Something went wrong; everything is left in ${folder}`);
  else {
    await rm(folder, { recursive: true, force: true });
    say(`Removed ${folder}`);
  }
  return code;
}

async function demonstrate(
  starting: Promise<Stack>,
  signatures: 'system' | 'test',
  once: boolean,
  interrupted: Promise<number>,
): Promise<number> {
  const stack = await starting;
  const samples = createSamples(new Date());
  say(`Sending three samples to the feed, 127.0.0.1 port ${stack.postfix.feedPort}\n`);
  for (const { sender, recipient, bytes } of samples) {
    await sendMessage(stack.postfix.feedPort, { sender, recipients: [recipient], bytes });
  }
  const outcomes = await outcomesOf(stack, samples, 60_000);
  say(tableOf(outcomes));
  if (signatures === 'test') {
    say('\nWARNING: the demonstration knows one signature, the EICAR test file. It protects nothing.');
  }
  const right = outcomes.every(({ isRight }) => isRight);
  if (!right)
    for (const [name, file] of Object.entries(stack.logs)) say(`\n${file}:\n${await tailOf(name, file)}`);
  if (once) return right ? 0 : 1;
  say(`\n${whatNext(stack)}`);
  return interrupted;
}

/** Resolves at the first of the signals that end us; more of them change nothing. */
function interruption(): Promise<number> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(0));
  });
}

/** Under sudo, delivered mail belongs to who asked for it, so that they can read it. */
function mailOwner(): { mailOwner?: { uid: number; gid: number } } {
  const [uid, gid] = [Number(process.env.SUDO_UID), Number(process.env.SUDO_GID)];
  return uid > 0 && gid > 0 ? { mailOwner: { uid, gid } } : {};
}

function tableOf(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ sample, isRight, what, where }) => [
    sample.name,
    sample.expected,
    `${isRight ? '' : 'WRONG: '}${what}`,
    where,
  ]);
  const all = [['sample', 'expected', 'what became of it', 'where to look'], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function whatNext({ postfix, config, logs }: Stack): string {
  return [
    `Running. The feed is an SMTP server on 127.0.0.1 port ${postfix.feedPort}; whatever the recipient, mail ends here.`,
    '',
    'Send more:   /usr/sbin/smtp-source -f me@example.net -t you@example.com -F FILE.eml ' +
      `127.0.0.1:${postfix.feedPort}`,
    `Delivered:   ${join(postfix.folder, 'mail', 'Maildir', 'new')}`,
    `Held:        node ${sluiceCommand} quarantine list --config ${config}`,
    `Queue:       postqueue -c ${postfix.configFolder} -p`,
    `Logs:        ${Object.values(logs).join('\n             ')}`,
    ...(process.env.SUDO_UID === undefined ? [] : ['(As root, with sudo, but for the delivered mail.)']),
    '',
    'Ctrl-C ends all of it and removes the folder.',
  ].join('\n');
}

async function tailOf(name: string, file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => `no log of ${name}`);
  return text.trimEnd().split('\n').slice(-20).join('\n');
}
