/**
 * search — how long lists and searches take with many items: `node test/bench/search.ts [ITEMS] [MESSAGES]`.
 *
 * Fills a quarantine.db and a history.db by SQL (100,000 items and 1,000,000 messages unless told), then asks each
 * question five times through the same doors as the command line and prints the median and the slowest answer. Takes
 * some minutes and 2 GB of disk, in the temporary folder. In full size it writes docs/performance-search.md.
 */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { openHistory } from '../../filter/history.ts';
import { outcomes } from '../../filter/history-search.ts';
import { openIndex } from '../../filter/quarantine-index.ts';
import { recipientStates } from '../../filter/quarantine-record.ts';
import { parseQuery } from '../../filter/query.ts';
import { markText, searchText } from '../../filter/search.ts';
import { silentLog } from '../../workers/log.ts';
import { createChance } from './chance.ts';
import { describeMachine, watchMachine } from './machine.ts';
import { sharedText } from './report.ts';

const [itemCount = 100_000, messageCount = 1_000_000] = process.argv.slice(2).map(Number);
const startedAt = new Date(2026, 0, 1).getTime();
const times = 5;

const chance = createChance(1);
const syllables =
  'ba con ter ment ing re pro dis un ver lo mi na tion al er es in sta tri ka mo fi ge ho or pa qua su vi zu'.split(
    ' ',
  );
const pick = <T>(from: readonly T[]): T => from[Math.floor(chance() * from.length)] as T;
/** Few are frequent, most are rare, as words and domains are. */
const pickSkewed = <T>(from: readonly T[]): T => from[Math.floor(from.length ** chance()) - 1] as T;
const makeWord = () => Array.from({ length: 2 + Math.floor(chance() * 3) }, () => pick(syllables)).join('');
const words = Array.from({ length: 20_000 }, makeWord);
const domains = Array.from(
  { length: 30_000 },
  () => `${makeWord()}.${pick(['com', 'net', 'org', 'de', 'fr'])}`,
);
const ownDomains = ['example.com', 'example.com', 'example.com', 'example.org', 'shop.example'];

type Mail = {
  readonly sender: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly score: number;
  readonly virusName: string | null;
  readonly verdict: string;
};

function makeMail(): Mail {
  const sender = `${pickSkewed(words)}@${pickSkewed(domains)}`;
  const from = chance() < 0.8 ? sender : `info@${pickSkewed(domains)}`;
  const to = Array.from(
    { length: chance() < 0.1 ? 3 : 1 },
    () => `${words[Math.floor(chance() * 900)]}@${pick(ownDomains)}`,
  );
  const subject = Array.from({ length: 3 + Math.floor(chance() * 6) }, () => pickSkewed(words)).join(' ');
  const score = Math.round((chance() < 0.6 ? chance() * 4 - 3 : chance() ** 2 * 30) * 1000) / 1000;
  const virusName = chance() < 0.0005 ? 'Win.Test.Agent-1' : null;
  return {
    sender,
    from,
    to,
    subject,
    score,
    virusName,
    verdict: virusName === null ? (score >= 6.5 ? 'spam' : 'clean') : 'virus',
  };
}

const said: string[] = [];
function say(line: string): void {
  said.push(line);
  console.log(line);
}

const watched = watchMachine();
const folder = await mkdtemp(join(tmpdir(), 'sluice-bench-'));
try {
  await benchQuarantine(join(folder, 'quarantine.db'));
  await benchHistory(join(folder, 'history.db'));
} finally {
  await rm(folder, { recursive: true });
}
if (itemCount === 100_000 && messageCount === 1_000_000) await writeReport();

async function writeReport(): Promise<void> {
  const { date, foreignShare } = watched();
  const lines = [
    '# Lists and searches',
    '',
    `Written by \`npm run bench:search\` on ${date}; do not edit. Asked for: under 100 ms each.`,
    '',
    ...describeMachine([])
      .filter(Boolean)
      .map((line) => `- ${line}`),
    `- Other processes used ${(100 * foreignShare).toFixed(0)} % of the machine's CPU time meanwhile${sharedText(foreignShare)}.`,
    '',
    `Each question was asked ${times} times: its hits on the first page, the median and the slowest answer.`,
    '```',
    ...said.join('\n').trim().split('\n'),
    '```',
    '',
  ];
  await writeFile(join(import.meta.dirname, '../../docs/performance-search.md'), lines.join('\n'));
}

async function benchQuarantine(file: string): Promise<void> {
  const index = await openIndex({ file, log: silentLog });
  fillQuarantine(file);
  say(`\nquarantine: ${itemCount} items, ${await megabytes(file)} MB`);
  const query = (text: string) => parseQuery(text, { states: recipientStates, now: Date.now() }).query;
  const middle = (await index.list({ limit: 1 }))[0]?.quarantineId ?? '';
  await measure('list held', async () => (await index.list({ state: 'held', limit: 50 })).length);
  await measure('list all', async () => (await index.list({ limit: 50 })).length);
  await measure(
    'list held, next page',
    async () => (await index.list({ state: 'held', limit: 50, before: middle })).length,
  );
  for (const text of questions([
    'state:held',
    'state:released',
    'state:released example.com',
    'state:held score:>29.9',
  ]))
    await measure(text, async () => (await index.search(query(text), { limit: 50 })).length);
  await index.close();
}

function fillQuarantine(file: string): void {
  const database = new DatabaseSync(file);
  database.exec('PRAGMA synchronous = OFF');
  const item = database.prepare(
    `INSERT INTO item VALUES (?, ?, ?, ?, 'inbound', ?, ?, ?, ?, 5000, '', ?, ?, 1, NULL, ? << 20, NULL)`,
  );
  const slot = database.prepare(
    `INSERT INTO item_recipient VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?, NULL, ?, NULL, NULL, '[]', 1)`,
  );
  const text = database.prepare('INSERT INTO item_text VALUES (? << 20, ?, ?)');
  database.exec('BEGIN');
  for (let number = 0; number < itemCount; number++) {
    const mail = makeMail();
    const { sender, from, subject, to, score, virusName, verdict } = mail;
    const id = Array.from({ length: 4 }, () =>
      Math.floor(chance() * 2 ** 32)
        .toString(16)
        .padStart(8, '0'),
    ).join('');
    const at = startedAt + number * 25_000;
    const state = chance() < 0.9 ? 'held' : chance() < 0.98 ? 'expired' : 'released';
    item.run(id, at, at, `Q${number}`, sender, from, subject, `<${number}@${sender}>`, score, virusName, at);
    for (const [position, one] of to.entries())
      slot.run(id, position, one, at, at + 30 * 86_400_000, verdict, 'score', state, at);
    text.run(at, searchText({ ...mail, from: [sender, from], marks: [verdict] }), markText(state));
  }
  database.exec('COMMIT');
  database.close();
}

async function benchHistory(file: string): Promise<void> {
  const history = await openHistory({ file, log: silentLog });
  const began = performance.now();
  fillHistory(file);
  const micros = ((performance.now() - began) * 1000) / messageCount;
  say(
    `\nhistory: ${messageCount} messages, ${await megabytes(file)} MB, filled with ${micros.toFixed(0)} µs each`,
  );
  const query = (text: string) => parseQuery(text, { states: outcomes, now: Date.now() }).query;
  await measure('list', async () => (await history.list({ limit: 50 })).length);
  await measure(
    'list, page in the middle',
    async () => (await history.list({ limit: 50, before: messageCount / 2 })).length,
  );
  for (const text of questions([
    'state:held',
    'state:delivered',
    'state:delivered -example',
    'disposition:quarantine',
    'disposition:discard',
    'disposition:discard example.com',
    'disposition:quarantine example.com',
    'disposition:quarantine zq',
    `disposition:quarantine ${words[400]}`,
    'disposition:deliver example.com',
    '-disposition:deliver',
    '-disposition:deliver score:<1',
    'id:Q777',
    'Q777 example',
  ]))
    await measure(text, async () => (await history.search(query(text), { limit: 50 })).length);
  await history.close();
}

function fillHistory(file: string): void {
  const database = new DatabaseSync(file);
  database.exec('PRAGMA synchronous = OFF');
  const scan = database.prepare(
    `INSERT INTO scan VALUES (?, ?, ?, 'inbound', '192.0.2.1', ?, ?, ?, ?, 5000, ?, ?, NULL, 3.5, 'scored', ?, NULL, 90, 120)`,
  );
  const outcome = database.prepare(`INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const text = database.prepare('INSERT INTO scan_search (rowid, text) VALUES (?, ?)');
  for (let number = 1; number <= messageCount; number++) {
    if (number % 1000 === 1) database.exec('BEGIN');
    const mail = makeMail();
    const { sender, from, subject, to, score, virusName, verdict } = mail;
    const isHeld = score >= 10 || virusName !== null;
    const [state, kind] = isHeld ? ['held', 'quarantine'] : ['delivered', 'deliver'];
    const queueId = `Q${number}`;
    scan.run(
      number,
      startedAt + number * 2500,
      queueId,
      sender,
      from,
      subject,
      `<${number}@${sender}>`,
      virusName === null ? 'clean' : 'infected',
      virusName,
      score,
    );
    for (const [position, one] of to.entries())
      outcome.run(
        number,
        position,
        one,
        state,
        verdict,
        kind,
        score,
        `score ${score} is below every threshold`,
        '{"code":250,"enhanced":"2.0.0","text":"Ok"}',
        isHeld ? queueId.padStart(32, '0') : null,
        isHeld ? null : `B${number}`,
      );
    text.run(number, searchText({ ...mail, from: [sender, from], marks: [verdict, state] }));
    if (number % 1000 === 0 || number === messageCount) database.exec('COMMIT');
  }
  database.close();
}

/** Words of every frequency, alone and together, and what has no hit at all. */
function questions(own: readonly string[]): string[] {
  const [frequent, rare, rarest] = [words[2], words[400], words[19_900]];
  const domain = domains[12_000];
  return [
    `${frequent}`,
    `${rare}`,
    `${rarest}`,
    'nosuchword',
    `"${frequent} ${words[3]}"`,
    `${frequent} ${rare}`,
    `${frequent} -${words[3]}`,
    `-${frequent}`,
    '-example',
    '-from:example.com',
    'example.com',
    'from:example.com',
    'to:example.com',
    `from:@${domain}`,
    `to:${words[30]}@example.org`,
    `subject:${rarest}`,
    'co',
    'q',
    'zq',
    '-zq',
    'subject:xx',
    'in -on',
    '@',
    'verdict:virus',
    'verdict:virus example.com',
    'score:>29.9',
    'score:>29.9 example.com',
    'score:<-2.99',
    'score:<-2.99 to:example.org',
    '-score:>5',
    'before:2026-01-05',
    'before:2026-01-05 example.org',
    'after:2026-01-03 before:2026-01-04',
    'after:2026-01-03 before:2026-01-04 nosuch',
    ...own,
  ];
}

async function measure(what: string, ask: () => Promise<number>): Promise<void> {
  const tookMs: number[] = [];
  let hits = 0;
  for (let time = 0; time < times; time++) {
    const began = performance.now();
    hits = await ask();
    tookMs.push(performance.now() - began);
  }
  tookMs.sort((a, b) => a - b);
  const [median = 0, slowest = 0] = [tookMs[Math.floor(times / 2)], tookMs.at(-1)];
  const mark = slowest > 100 ? '  over 100 ms' : '';
  say(
    `${what.padEnd(50)} ${String(hits).padStart(4)} hits ${median.toFixed(1).padStart(8)} ms  slowest ${slowest.toFixed(1).padStart(8)} ms${mark}`,
  );
}

async function megabytes(file: string): Promise<string> {
  const sizes = await Promise.all(['', '-wal'].map(async (suffix) => (await stat(`${file}${suffix}`)).size));
  return (sizes.reduce((sum, size) => sum + size, 0) / 1e6).toFixed(0);
}
