/**
 * soak-redis — `npm run soak:redis [-- FAULT]`: every fault of Redis under 10,000 messages in all, and a hundred workers killed.
 *
 * Prints a line for each run, measured of total. Exit 1 where anything was lost, doubled, given another's verdict, or not taken
 * again within five seconds.
 */
import { faults, runFault, startMarkedSite } from './redis-faults.ts';
import { runKills } from './worker-kills.ts';

const againMsMost = 5000;
const messagesPerFault = Math.ceil(10_000 / faults.length);
const only = process.argv[2] ?? null;
let failures = 0;

function say(line: string, isGood: boolean): void {
  if (!isGood) failures++;
  process.stdout.write(`${isGood ? 'ok  ' : 'FAIL'}  ${line}\n`);
}

const marked = await startMarkedSite(() => 5 + Math.random() * 40);
for (const [at, fault] of faults.entries()) {
  if (only !== null && only !== fault.name) continue;
  const run = { first: at * 1_000_000, messages: messagesPerFault, pauseMs: 2000 };
  const report = await runFault(marked, fault, run);
  const { messages, lost, doubled, wrong, times, againMs, deferrals, keysLeft } = report;
  const slowest = Math.max(0, ...againMs);
  const isGood =
    lost.length + doubled.length + wrong.length + keysLeft.length === 0 && slowest <= againMsMost;
  const counts = `lost ${lost.length}/${messages}, doubled ${doubled.length}, another's verdict ${wrong.length}`;
  const again = againMs.length === 0 ? '' : `, taken again after at most ${slowest} ms`;
  say(`Redis ${fault.name} ${times} times: ${counts}${again}, ${deferrals} tries put off`, isGood);
  for (const line of [...wrong.slice(0, 10), ...keysLeft.slice(0, 10)])
    process.stdout.write(`      ${line}\n`);
}
if (only === null || only === 'kills') {
  const { kills, cut, putOff, slowestMs, deadlineMs, messages, ...account } = await runKills(
    marked,
    100,
    100_000_000,
  );
  const { lost, doubled, wrong } = account;
  const isGood = lost.length + doubled.length + wrong.length + putOff.length === 0 && slowestMs < deadlineMs;
  const counts = `lost ${lost.length}/${messages}, doubled ${doubled.length}, another's verdict ${wrong.length}`;
  const times = `slowest ${slowestMs} ms of ${deadlineMs}`;
  say(
    `Worker killed ${kills} times, ${cut} scans cut: ${counts}, put off ${putOff.length}, ${times}`,
    isGood,
  );
  for (const line of [...wrong, ...putOff].slice(0, 10)) process.stdout.write(`      ${line}\n`);
}
await marked.stop();
process.exitCode = failures === 0 ? 0 : 1;
