/**
 * postfix-command — what `sluice postfix` prints, and what it refuses.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Options, UsageError } from '../../review/invocation.ts';
import { printPostfix } from '../../review/postfix-command.ts';
import { parseMain, parseMaster } from '../../rules/postfix-files.ts';
import { silentStatusLine } from '../../review/progress.ts';
import { ConfigurationError, readSite } from '../../workers/site.ts';

async function printed(
  options: Options,
  environment: Record<string, string> = {},
): Promise<{ text: string; json: unknown }> {
  const answer: { text: string; json: unknown } = { text: '', json: null };
  const code = await printPostfix({
    words: [],
    options,
    site: () => ({ ...readSite(undefined, environment), configFile: '/etc/sluice/sluice.yaml' }),
    config: () => readSite(undefined, environment).config,
    user: 'test',
    columns: Number.POSITIVE_INFINITY,
    status: silentStatusLine(),
    print: (text) => (answer.text += `${text}\n`),
    printJson: (value) => (answer.json = value),
  });
  assert.equal(code, 0);
  return answer;
}

test('printPostfix() prints one text of which each file takes its part, headings and all', async () => {
  const { text } = await printed({});
  const [head = '', master = '', main = '', commands = ''] = text.split(/^(?=##### )/m);
  assert.equal(head, '# Postfix for /etc/sluice/sluice.yaml, fed over LMTP.\n\n');
  assert.deepEqual(parseMain({ file: 'main.cf', text: main }).problems, []);
  const { services, problems } = parseMaster({ file: 'master.cf', text: master });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    services.map(({ name }) => name),
    ['scan', '127.0.0.1:10025', 'return-cleanup'],
  );
  assert.match(master, /^##### master\.cf: .* then run "postfix reload"\n/);
  assert.match(commands, /^##### Then run this\n/);
  assert.match(commands, /\npostfix check && postfix reload\n$/);
});

test('printPostfix() prints one block alone, as its file takes it', async () => {
  const parts = ['main', 'master', 'commands', 'bypass', 'removal'] as const;
  const [main = '', master = '', commands = '', bypass = '', removal = ''] = await Promise.all(
    parts.map(async (part) => (await printed({ part })).text),
  );
  assert.deepEqual(
    [...parseMain({ file: 'main.cf', text: main }).parameters.keys()],
    ['content_filter', 'scan_destination_concurrency_failed_cohort_limit'],
  );
  assert.equal(parseMaster({ file: 'master.cf', text: master }).services.length, 3);
  assert.match(commands, /\npostfix check && postfix reload\n$/);
  assert.match(
    bypass,
    /\npostconf -X content_filter\n(?!.*postconf -MX).*\npostsuper -r ALL\n.*\npostkick public pickup W\n$/s,
  );
  assert.match(
    removal,
    /\npostconf -X content_filter\n.*\npostconf -MX 'scan\/unix'\n.*\npostsuper -r ALL\n.*\npostkick public pickup W\n$/s,
  );
  for (const text of [main, master, commands, bypass, removal]) assert.doesNotMatch(text, /#####/);
  await assert.rejects(printed({ part: 'all' }), UsageError);
});

test('printPostfix() gives programs the settings, each with its reason, and the text', async () => {
  const { text, json } = await printed({ json: true, feed: 'smtp' });
  assert.equal(text, '');
  const { feed, settings } = json as { feed: string; settings: { name: string; why: string }[] };
  assert.equal(feed, 'smtp');
  assert.ok(settings.some(({ name }) => name === 'smtp_send_xforward_command'));
  assert.ok(settings.every(({ why }) => why.length > 5));
});

test('printPostfix() refuses a feed that there is not, and a configuration that Postfix can not be told', async () => {
  await assert.rejects(printed({ feed: 'uucp' }), UsageError);
  await assert.rejects(printed({ feed: 'lmtp' }, { SLUICE_LISTEN_LMTP: 'null' }), (error: unknown) => {
    assert.ok(error instanceof ConfigurationError);
    assert.equal(
      error.message,
      '/etc/sluice/sluice.yaml: listen.lmtp is null: write an address for it, or choose the other feed',
    );
    return true;
  });
});
