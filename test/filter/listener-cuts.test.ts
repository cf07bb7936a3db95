/**
 * listener — cut anywhere by TCP, smuggled at in every way: one message in, one message handed over.
 *
 * A cut is real: the second half is sent when the event loop, which the listener shares, has polled after the first.
 */
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { createLineCleaner } from '../../filter/line-cleaner.ts';
import type { SmtpDialog } from '../fakes/smtp-dialog.ts';
import { startRig } from './listener-rig.ts';

async function sendCut(dialog: SmtpDialog, octets: string, ...cuts: readonly number[]): Promise<void> {
  let from = 0;
  for (const cut of [...cuts, octets.length]) {
    await dialog.send(octets.slice(from, cut));
    await nextTurn();
    await nextTurn();
    from = cut;
  }
}

for (const protocol of ['smtp', 'lmtp'] as const) {
  test(`createListener() takes a whole ${protocol} dialog in any two pieces`, async () => {
    await using rig = await startRig({ protocol });
    const whole =
      `${protocol === 'smtp' ? 'EHLO' : 'LHLO'} a\r\n` +
      'XFORWARD NAME=[UNAVAILABLE] HELO=a=b\r\nXFORWARD IDENT=Q1\r\n' +
      'MAIL FROM:<"s p"@x> SIZE=40 BODY=8BITMIME\r\nRCPT TO:<"a>b"@x> ORCPT=rfc822;"a"\r\nRCPT TO:<b@x>\r\nDATA\r\n' +
      'S: 1\r\n\r\n..\r\n.x\r\nbare\n.\ncr\r.\r\n.\r\n' +
      'MAIL FROM:<>\r\nRCPT TO:<c@x>\r\nDATA\r\n.\r\nRSET\r\nQUIT\r\n';
    const reference = await playCut(whole.length);
    assert.equal(reference.replies.length, protocol === 'smtp' ? 14 : 15);
    for (let cut = 1; cut < whole.length; cut++)
      assert.deepEqual(await playCut(cut), reference, `cut at ${cut}`);

    async function playCut(cut: number) {
      rig.taken.length = 0;
      const dialog = await rig.dial();
      await sendCut(dialog, whole, cut);
      const replies = await dialog.rest();
      const taken = rig.taken.map(({ transaction, octets }) => [
        transaction.envelope,
        octets.toString('latin1'),
      ]);
      assert.equal(taken.length, 2);
      return { replies, taken };
    }
  });
}

test('createListener() takes a whole dialog octet by octet', async () => {
  await using rig = await startRig();
  const dialog = await rig.dial();
  const whole = 'EHLO a\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\na\n.\n..\r\n.\r\nQUIT\r\n';
  await sendCut(dialog, whole, ...Array.from({ length: whole.length - 1 }, (_, at) => at + 1));
  assert.equal((await dialog.rest()).at(-1), '221 2.0.0 Bye');
  assert.equal(rig.taken[0]?.octets.toString(), 'a\r\n.\r\n.\r\n');
});

test('createListener() hands over one message for each, whatever CR and LF stand around a dot, in any two pieces', async () => {
  await using rig = await startRig();
  const ends = ['', '\r', '\n', '\r\r', '\n\n', '\n\r', '\r\n', '\r\r\n', '\r\n\r', '\0\n', ' \n'];
  const dialog = await rig.greet();
  const smuggled = 'MAIL FROM:<evil@x>\r\nRCPT TO:<evil@x>\r\nDATA\r\nevil';
  let sent = 0;
  for (const before of ends) {
    for (const after of ends) {
      const dot = `${before}.${after}`;
      if (`good${dot}${smuggled}`.includes('\r\n.\r\n')) continue;
      const wire = `good${dot}${smuggled}\r\n.\r\n`;
      const expected = createLineCleaner().clean(Buffer.from(wire, 'latin1')).cleaned.toString('latin1');
      for (let cut = 4; cut <= 4 + dot.length + 1; cut++) {
        await dialog.ask('MAIL FROM:<good@x>');
        await dialog.ask('RCPT TO:<good@x>');
        await dialog.ask('DATA');
        await sendCut(dialog, wire, cut);
        assert.match(await dialog.reply(), /^250 2\.0\.0/, JSON.stringify(dot));
        sent++;
        const { transaction, octets } = rig.taken.at(-1) ?? assert.fail();
        assert.equal(rig.taken.length, sent, JSON.stringify(dot));
        assert.equal(transaction.envelope.sender, 'good@x');
        assert.equal(octets.toString('latin1'), expected);
        assert.match(expected, /evil\r\n$/);
      }
    }
  }
  assert.ok(sent > 400);
});

test('createListener() spools what the whole-buffer oracle says, for any octets in any chunks (property)', async () => {
  await using rig = await startRig();
  const dialog = await rig.greet();
  const piece = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('\r', '\n', '.', '\r\n', '\r\n.', 'x', '\0', '\xff') },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) },
  );
  const bodies = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''));
  await fc.assert(
    fc.asyncProperty(bodies, fc.array(fc.nat({ max: 60 }), { maxLength: 4 }), async (body, cuts) => {
      fc.pre(!`\r\n${body}\r\n.`.includes('\r\n.\r\n'));
      await dialog.ask('MAIL FROM:<a@x>');
      await dialog.ask('RCPT TO:<b@x>');
      await dialog.ask('DATA');
      await sendCut(dialog, `${body}\r\n.\r\n`, ...cuts.sort((a, b) => a - b));
      assert.match(await dialog.reply(), /^250 2\.0\.0/);
      const lines = `${body}\r\n`.replaceAll(/\r(?!\n)/g, ' ').split(/\r?\n/);
      const expected = lines.map((line) => (line.startsWith('.') && line.length > 1 ? line.slice(1) : line));
      assert.equal(rig.taken.at(-1)?.octets.toString('latin1'), expected.join('\r\n'));
    }),
    { numRuns: 400 },
  );
});
