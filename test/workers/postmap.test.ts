/**
 * postmap — what Postfix itself says of its domains, with the real postconf and postmap.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { domainsHere } from '../../workers/postmap.ts';
import { temporaryFolder } from '../folder.ts';

function configure(t: TestContext, lines: (folder: string) => readonly string[]): void {
  const folder = temporaryFolder(t);
  process.env.MAIL_CONFIG = folder;
  t.after(() => delete process.env.MAIL_CONFIG);
  // postmap asks for it, too.
  writeFileSync(join(folder, 'main.cf'), '');
  writeFileSync(join(folder, 'main.cf'), `compatibility_level = 3.6\n${lines(folder).join('\n')}\n`);
}

test('domainsHere() follows names and tables, and leaves out what is no domain', async (t) => {
  configure(t, (folder) => {
    const table = join(folder, 'Aliases');
    writeFileSync(
      table,
      'Lists.example.com any\nanna@lists.example.com b@example.net\n@x.example c@example.net\n',
    );
    execFileSync('/usr/sbin/postmap', [`hash:${table}`], { env: { MAIL_CONFIG: folder } });
    return [
      'myhostname = MX2.example.com',
      `virtual_alias_domains = alias.example, hash:${table}, hash:/nowhere/table`,
      'virtual_mailbox_domains = /etc/postfix/file, [192.0.2.1], regexp:/x, !not.example',
    ];
  });
  assert.deepEqual(await domainsHere(), [
    'alias.example',
    'lists.example.com',
    'localhost',
    'localhost.example.com',
    'mx2.example.com',
  ]);
});

test('domainsHere() knows none where Postfix has no configuration', async (t) => {
  configure(t, () => []);
  process.env.MAIL_CONFIG = '/nowhere';
  assert.deepEqual(await domainsHere(), []);
});
