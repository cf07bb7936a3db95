/**
 * help — every page as a person reads it at 80 columns, and that it tells of everything the parser takes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { understand } from '../../review/command-line.ts';
import { commands, groups } from '../../review/commands.ts';
import { help } from '../../review/help.ts';
import { signature, usageOf } from '../../review/manual.ts';

test('help() has a page for all, for each group and for each command, and for nothing else', () => {
  assert.equal(help('frobnicate'), null);
  const overview = help('') ?? '';
  for (const { name, summary } of commands) {
    assert.match(help(name) ?? '', new RegExp(`^Usage: sluice ${name}\\b`), name);
    const isForPeople = !['bayes answer', 'bayes receive', 'bayes send'].includes(name);
    assert.equal(overview.includes(`\n  ${name} `), isForPeople, name);
    assert.match(summary, /^[^A-Z.]/, `${name}: a phrase, no sentence`);
  }
  for (const { name, commands: members } of groups) {
    const page = help(name) ?? '';
    assert.ok(members.length > 0);
    for (const member of members) assert.match(page, new RegExp(`^ {2}${member.name} +\\S`, 'm'));
  }
});

test('help() fits a terminal of 80 columns; only an example may be longer, up to 100', () => {
  for (const name of ['', ...groups.map((group) => group.name), ...commands.map((command) => command.name)]) {
    for (const line of (help(name) ?? '').split('\n')) {
      const most = line.startsWith('  sluice ') ? 100 : 80;
      assert.ok(line.length <= most, `${name}: ${line}`);
      assert.equal(line, line.trimEnd(), `${name}: blanks at the end`);
    }
    assert.doesNotMatch(help(name) ?? '', /\n\n\n|undefined/, name);
  }
});

test('help() leaves no word alone at the end of a paragraph of a page', () => {
  for (const { name } of commands) {
    for (const paragraph of (help(name) ?? '').split('\n\n')) {
      const lines = paragraph.split('\n');
      if (lines.length > 1 && lines.every((line) => /^\S/.test(line)))
        assert.match(lines.at(-1) ?? '', / /, `${name}: ${paragraph}`);
    }
  }
});

test('help() tells of every option and shows at least one example that the parser understands', () => {
  for (const manual of commands) {
    const page = help(manual.name) ?? '';
    const usage = usageOf(manual).flat().join(' ');
    for (const option of manual.options) {
      assert.ok(page.includes(`\n  ${signature(option)}`), `${manual.name}: ${option.name}`);
      assert.ok(usage.includes(signature(option)), `${manual.name}: ${option.name}`);
    }
    assert.ok(manual.examples.length > 0, manual.name);
    for (const [line] of manual.examples) {
      const asked = line.split(' | sluice ').map((part) => understand(wordsOf(part)));
      const names = asked.map((one) => (one.kind === 'command' ? one.command.name : one.kind));
      assert.ok(names.includes(manual.name), line);
    }
  }
});

/** As a shell would have them: quotes taken away, nothing behind a pipe or a redirection. */
function wordsOf(line: string): string[] {
  const [own = ''] = line.split(/ (?:\||>>?) /);
  return [...own.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}
