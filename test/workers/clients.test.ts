/** clients — how many messages a scanner is asked about at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseConfig } from '../../rules/config.ts';
import { createScannerClients } from '../../workers/clients.ts';
import { silentLog } from '../../workers/log.ts';
import { startFakeClamd } from '../fakes/clamd.ts';
import { never, until } from './remote-rig.ts';

const message = {
  async *read() {
    yield Buffer.from('Subject: x\r\n\r\nx\r\n');
  },
};

for (const [label, atLeast, most] of [
  ['as usual', undefined, 32],
  ['as many as a worker takes jobs', { virus: 40, spam: 4 }, 40],
  ['no fewer than usual', { virus: 8, spam: 4 }, 32],
] as const) {
  test(`createScannerClients() asks clamd about ${most} messages at once, ${label}`, async (t) => {
    const clamd = await startFakeClamd({ script: [{ at: 'end', do: 'hang' }] });
    t.after(() => clamd.stop());
    const text = `clamd: ${formatAddress({ ...clamd.address, mode: null, owner: null } as never)}\nspamd: null\nscan: { spam: false }`;
    const { config } = parseConfig({ file: 'sluice.yaml', text }, {});
    assert.ok(config !== null);
    const client = createScannerClients(config, silentLog, atLeast).clamd;
    assert.ok(client !== null);
    t.after(() => client.close());
    const asked = () => clamd.conversations.filter(({ stream }) => stream.length > 0).length;
    const scans = Array.from({ length: 50 }, () => client.scan(message as never, never()));
    await until('so many are asked', () => asked() >= most);
    assert.equal(clamd.conversations.length, most);
    clamd.answer('stream: OK\0');
    await until('the others follow', () => asked() === 50);
    clamd.answer('stream: OK\0');
    const verdicts = await Promise.all(scans);
    assert.ok(verdicts.every((verdict) => verdict.kind === 'clean'));
  });
}
