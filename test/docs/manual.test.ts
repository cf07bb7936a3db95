/**
 * manual — docs/sluice.8 and docs/completions/ are what the commands' manuals say now, and clean in the eyes of the
 * programs that read them.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commands } from '../../review/commands.ts';
import { manPage } from '../../review/man-page.ts';
import { manualFiles } from '../../review/manual-files.ts';
import { signature } from '../../review/manual.ts';
import { literal, paragraph } from '../../review/roff.ts';

const docs = join(import.meta.dirname, '../../docs');

/** Runs a program that must be there: all that it says, on both outputs. */
function sayOf(program: string, ...words: string[]): { said: string; errors: string } {
  const { error, status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8', maxBuffer: 1e7 });
  assert.equal(error, undefined, `${program} is not there: sh demo/setup.sh --tests installs it`);
  assert.equal(status, 0, `${program} ${words.join(' ')}: ${stdout}${stderr}`);
  return { said: stdout, errors: stderr };
}

for (const { name, text } of manualFiles()) {
  test(`docs/${name} is what the tables give: npm run manual writes it`, () => {
    assert.equal(readFileSync(join(docs, name), 'utf8'), text);
  });
}

test('manPage() is clean for mandoc and for groff', () => {
  const page = join(docs, 'sluice.8');
  assert.deepEqual(sayOf('mandoc', '-T', 'lint', page), { said: '', errors: '' });
  assert.equal(sayOf('groff', '-man', '-ww', '-Tutf8', page).errors, '');
});

test('manPage() tells of every command and option as it is typed, and has the sections people look for', () => {
  const { said } = sayOf('mandoc', '-T', 'ascii', '-O', 'width=300', join(docs, 'sluice.8'));
  // Bold and italics are letters struck twice (grotty(1)).
  const text = said.replaceAll(/.[\b]/g, '');
  const sections = [...text.matchAll(/^[A-Z][A-Z ]+$/gm)].map(([section]) => section);
  assert.deepEqual(
    sections,
    'NAME,SYNOPSIS,DESCRIPTION,COMMANDS,OPTIONS,FILES,ENVIRONMENT,EXIT STATUS,EXAMPLES,SEE ALSO'.split(','),
  );
  for (const { name, options, examples } of commands) {
    assert.match(text, new RegExp(`^ {3}${name}$`, 'm'));
    for (const option of options) assert.ok(text.includes(`\n       ${signature(option)}`), option.name);
    for (const [line] of examples) assert.ok(text.includes(`sluice ${line}\n`), line);
  }
});

test('literal() and paragraph() let no text be a request or an escape', () => {
  assert.equal(literal('.TH \\fB'), '\\&.TH \\efB');
  assert.equal(literal('\'--a\' "b" ~^`'), '\\(aq\\-\\-a\\(aq \\(dqb\\(dq \\(ti\\(ha\\(ga');
  assert.equal(literal('…ü\u00a0'), '\\[u2026]\\[u00FC]\\ ');
  assert.deepEqual(paragraph('An after-queue filter. Use --force.'), [
    'An after-queue filter.',
    'Use \\-\\-force.',
  ]);
  assert.match(manPage('1.2.3'), /^\.TH SLUICE 8 \S+ "Sluice 1\.2\.3"/m);
});
