/**
 * newcomer — docs/install.md done block by block on a stock Debian relay; then every mistake of mistakes.ts on that site.
 *
 * The machine is a throw-away one with the packages of this machine (machine.ts); `npm run newcomer` does the same on a
 * system that debootstrap makes. What is otherwise than in reality stands in newcomer-site.ts (`replaced`). Needs root.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { badFiles, lonelyMistakes, type Mistake, mistakeParts } from './mistakes.ts';
import {
  assertArrived,
  assertFiltered,
  assertGone,
  letOneWait,
  type NewcomerSite,
  pageFile,
  startAgain,
  startNewcomer,
} from './newcomer-site.ts';
import { minutesOf, sectionsOf } from './page.ts';
import { createPlanter, type Planter } from './planter.ts';

const page = readFileSync(pageFile, 'utf8');
const titles = sectionsOf(page).map(({ title }) => title);
/** The relay filters after these; the others observe, and take Sluice away. */
const installing = titles.filter((title) => Number.parseInt(title, 10) <= 7);
const leaving = titles.filter((title) => !installing.includes(title));

const folder = mkdtempSync(join(tmpdir(), 'sluice-newcomer-'));
let site: NewcomerSite;

before(async () => {
  site = await startNewcomer(folder, null);
});
after(async () => {
  await site?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function walk(title: string): Promise<void> {
  const section = site.sections.find((one) => one.title === title);
  assert.ok(section !== undefined);
  await site.walk(section);
}

test('docs/install.md says how long it takes, and it is less than 15 minutes', () => {
  const { words, blocks, minutes } = minutesOf(page);
  const [, saidWords = '', saidBlocks, saidMinutes] =
    /\(([\d,]+) words at 200 a\s+minute, (\d+) blocks at 6 a minute: (\d+) minutes/.exec(page) ?? [];
  assert.deepEqual([Number(saidBlocks), Number(saidMinutes)], [blocks, minutes]);
  assert.equal(Number(saidWords.replace(',', '')), Math.ceil(words / 100) * 100);
  assert.ok(minutes < 15);
});

suite('docs/install.md makes a filtered relay out of a plain one', () => {
  for (const title of installing) test(title, () => walk(title));

  test('then spam is held, and clean mail delivered with its header line', () => assertFiltered(site));

  test('then sluice check has nothing to say', async () => {
    const { code, stdout } = await site.machine.run('sluice check --json');
    const { count } = JSON.parse(stdout) as { count: { ok: number; warn: number; fail: number } };
    assert.deepEqual([code, count.warn, count.fail], [0, 0, 0], stdout);
    assert.ok(count.ok > 40);
  });
});

suite('docs/postfix.md, each command', () => {
  const steps = sectionsOf(readFileSync(join(pageFile, '..', 'postfix.md'), 'utf8'));
  const walkOther = async (title: string): Promise<void> => {
    const section = steps.find((one) => one.title === title);
    assert.ok(section !== undefined, title);
    await site.walk(section);
  };

  test('soft_bounce for the roll-out is set, in force, and taken back', async () => {
    await walkOther('Rolling it out');
    assert.equal(await site.machine.must('postconf -h soft_bounce'), 'no\n');
  });

  test('after an outage all that waited is filtered at once', async () => {
    await letOneWait(site, 'Patience');
    await startAgain(site);
    await walkOther('After an outage');
    await assertArrived(site, 'Patience', /^X-Virus-Scanned: yes/m);
  });
});

suite('sluice check finds and names each planted mistake, and nothing else', () => {
  let planter: Planter;
  before(async () => {
    planter = await createPlanter(site.machine);
  });

  const longest = Math.max(...mistakeParts.map(({ length }) => length));
  const rounds = Array.from({ length: longest }, (_, at) => mistakeParts.flatMap((part) => part[at] ?? []));
  for (const round of [...rounds, ...lonelyMistakes.map((one): Mistake[] => [one])]) {
    test(round.map(({ name }) => name).join('; '), () => planter.assertFound(round));
  }
  for (const bad of badFiles) test(`${bad.file}: ${bad.name}`, () => planter.assertRefused(bad));

  test('at least 25 of them, listed in docs/check.md under the same names', () => {
    const listed = readFileSync(join(pageFile, '..', 'check.md'), 'utf8');
    const all = [
      ...mistakeParts.flat(),
      ...lonelyMistakes,
      ...badFiles.map(({ name, file }) => ({ name: `${file}: ${name}` })),
    ];
    assert.ok(all.length >= 25);
    for (const { name } of all) assert.ok(listed.includes(`| ${name} |`), name);
  });
});

suite('docs/install.md goes on', () => {
  for (const title of leaving.slice(0, -1)) test(title, () => walk(title));

  test(`${leaving.at(-1)}, with a message in the queue`, async () => {
    await letOneWait(site, 'Waiting');
    await walk(leaving.at(-1) ?? '');
  });

  test('then mail goes past Sluice, what waited for it too', () => assertGone(site));
});
