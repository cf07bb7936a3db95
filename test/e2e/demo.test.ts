/**
 * demo — npm start as its user meets it: what it prints, that it takes more mail, and that it leaves nothing behind.
 *
 * That its three samples end right is asked by `demo/main.ts --once`, a step of test/run.sh of its own.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { processesOf, stillAlive } from '../../demo/postfix-processes.ts';
import { createSamples, sendMessage } from '../../demo/samples.ts';

/** Starts the demonstration in a process group of its own, as a shell does. */
function startDemo(): {
  child: ChildProcess;
  said: () => string;
  line: (pattern: RegExp) => Promise<string[]>;
} {
  const main = join(import.meta.dirname, '..', '..', 'demo', 'main.ts');
  const child = spawn(process.execPath, [main], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const lines: string[] = [];
  let wake = () => undefined as void;
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => {
    lines.push(line);
    wake();
  });
  let closed = false;
  reader.on('close', () => {
    closed = true;
    wake();
  });
  return {
    child,
    said: () => lines.join('\n'),
    async line(pattern) {
      for (;;) {
        const found = lines.map((line) => pattern.exec(line)).find((match) => match !== null);
        if (found !== undefined) return [...found];
        if (closed) throw new Error(`The demonstration ended without ${pattern}:\n${lines.join('\n')}`);
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

/** Command lines of this machine that speak of `folder`. */
function commandsWith(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && existsSync(`/proc/${name}/cmdline`))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
      } catch {
        return ''; // It ended while we looked.
      }
    })
    .filter((command) => command.includes(folder));
}

test('npm start shows three outcomes, takes more mail, and ends with Ctrl-C without a trace', async () => {
  const { child, said, line } = startDemo();
  const pid = child.pid ?? 0;
  try {
    const [, folder = ''] = await line(/^Starting .* in (\/tmp\/sluice-demo-\S+)/);
    await line(/^Ctrl-C ends all of it/);
    assert.match(said(), /^good +delivered +delivered, every octet intact +\//m);
    assert.match(said(), /^GTUBE +held +held in quarantine \(score \d+\) +\//m);
    assert.match(said(), /^EICAR +held +held in quarantine \(virus .*\) +\//m);
    assert.match(said(), /protects nothing|real signatures/);

    const [, port = ''] = await line(/smtp-source .* 127\.0\.0\.1:(\d+)$/);
    const [good] = createSamples(new Date());
    assert.ok(good !== undefined);
    const reply = await sendMessage(Number(port), { ...good, recipients: ['more@example.com'] });
    assert.match(reply, /^250 2\.0\.0 Ok: queued as/);

    const postfix = await processesOf(folder);
    assert.ok(postfix.length > 0 && commandsWith(folder).length >= 3);
    // A terminal sends it to the whole group, and some people press twice.
    process.kill(-pid, 'SIGINT');
    process.kill(pid, 'SIGINT');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
    assert.deepEqual(await stillAlive(postfix), []);
    assert.deepEqual(commandsWith(folder), []);
    assert.equal(existsSync(folder), false);
  } finally {
    if (child.exitCode === null) child.kill('SIGTERM');
  }
});

test('npm start that is interrupted while it starts leaves nothing behind either', async () => {
  const { child, line } = startDemo();
  const [, folder = ''] = await line(/^Starting .* in (\/tmp\/sluice-demo-\S+)/);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  assert.deepEqual(await processesOf(folder), []);
  assert.deepEqual(commandsWith(folder), []);
  assert.equal(existsSync(folder), false);
});
