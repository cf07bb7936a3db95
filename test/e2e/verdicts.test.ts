/**
 * verdicts — what must hold, 3: a virus never comes through, spam lands where each recipient's policy says.
 *
 * Real Postfix, clamd and spamd, both feeds. The return smtpd refuses one recipient (`refused@split.example`), as a real
 * one refuses an unknown user. Scores are exact, because only the rules of `scoreRules` count.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type HistoryRow, openHistory } from '../../filter/history.ts';
import { recordingLog } from '../filter/store-rig.ts';
import * as evidence from './evidence.ts';
import { encryptedMail, gtube, infectedMails, mailOf, scoredMail, scoreRules } from './mails.ts';
import { startSite, type TestSite } from './site.ts';

const policies = `recipients:
  keep.example: { thresholds: { quarantine: null } }
  drop.example: { thresholds: { discard: 20 } }
  tagged.example: { thresholds: { spam: 9 } }
  held.example: { thresholds: { quarantine: 7 } }
`;

/** Score → where it lands under the shipped thresholds 2.0, 6.5 and 10.0; discard is drop.example's 20. */
const landings = [
  { score: 1.9, to: 'a1@site.example', lands: 'plain' },
  { score: 2, to: 'a2@site.example', lands: 'tagged' },
  { score: 6.4, to: 'a3@site.example', lands: 'tagged' },
  { score: 6.5, to: 'a4@site.example', lands: 'flagged' },
  { score: 9.9, to: 'a5@site.example', lands: 'flagged' },
  { score: 10, to: 'a6@site.example', lands: 'held' },
  { score: 19.9, to: 'a7@drop.example', lands: 'held' },
  { score: 20, to: 'a8@drop.example', lands: 'discarded' },
] as const;

for (const feedProtocol of ['lmtp', 'smtp'] as const) {
  suite(`${feedProtocol} feed`, () => {
    let site: TestSite;

    before(async () => {
      site = await startSite({
        feedProtocol,
        sink: 'smtp',
        policies,
        outbound: true,
        spamd: { extraRules: scoreRules([8, ...landings.map(({ score }) => score)]) },
        postfix: {
          retrySeconds: 1,
          returnOptions: {
            smtpd_recipient_restrictions:
              'check_recipient_access inline:{ { refused@split.example = 550 5.1.1 No such user } }, permit_mynetworks, reject',
          },
        },
      });
    });
    after(() => site.stop());

    test('EICAR in every wrapping is held and never reaches the return smtpd', async () => {
      const mails = infectedMails().map(({ label, bytes }) => ({ to: `${label}@virus.example`, bytes }));
      const queueIds = await Promise.all(
        mails.map(({ to, bytes }) => evidence.post(site, { to: [to], bytes })),
      );
      for (const [at, { to }] of mails.entries()) {
        const { status, text } = await evidence.settled(site, queueIds[at] ?? '', to);
        assert.match(`${status} ${text}`, /^sent 250 2\.0\.0 Ok: held in quarantine: [0-9a-f]{32}$/, to);
        assert.deepEqual(await evidence.handOffsOf(site, queueIds[at] ?? ''), [], to);
        assert.deepEqual(evidence.copiesFor(site, to), []);
      }
      const held = (await evidence.quarantineOf(site)).flatMap(({ virusName, slots }) =>
        slots.map(({ recipient, verdict }) => `${recipient} ${verdict} ${virusName}`),
      );
      assert.deepEqual(
        held.toSorted(),
        mails.map(({ to }) => `${to} virus Eicar-Test-Signature.UNOFFICIAL`).toSorted(),
      );
    });

    test('a virus beside a refused and a good recipient reaches neither', async () => {
      const [{ bytes } = { bytes: Buffer.alloc(0) }] = infectedMails();
      const to = ['refused@split.example', 'keep@keep.example'];
      const queueId = await evidence.post(site, { to, bytes });
      for (const one of to)
        assert.match((await evidence.settled(site, queueId, one)).text, /held in quarantine/);
      assert.deepEqual(await evidence.handOffsOf(site, queueId), []);
    });

    test('an encrypted archive alone is delivered, marked as not scanned', async () => {
      const queueId = await evidence.post(site, { to: ['b@site.example'], bytes: encryptedMail() });
      await evidence.settled(site, queueId, 'b@site.example');
      const { bytes } = await evidence.arrived(site, 'b@site.example');
      assert.deepEqual(evidence.marksOf(bytes), { 'x-virus-scanned': ['no (encrypted)'] });
    });

    test('GTUBE is held, delivered flagged, or discarded, as each recipient wants it', async () => {
      const to = ['c@site.example', 'c@keep.example', 'c@drop.example'];
      const queueId = await evidence.post(site, { to, bytes: mailOf({ subject: 'gtube', body: gtube }) });
      const { bytes, rcpt } = await evidence.arrived(site, 'c@keep.example');
      assert.equal(rcpt.length, 1);
      assert.deepEqual(evidence.marksOf(bytes)['x-spam-flag'], ['YES']);
      await Promise.all(to.map((one) => evidence.settled(site, queueId, one)));
      const [scan, ...others] = await history(site, queueId, (rows) =>
        rows.some(({ outcomes }) => outcomes.length >= 2),
      );
      const outcomes = [scan, ...others].flatMap((row) => row?.outcomes ?? []);
      assert.deepEqual(
        outcomes.map(({ recipient, outcome, verdict }) => `${recipient} ${outcome} ${verdict}`).toSorted(),
        ['c@drop.example discarded spam', 'c@keep.example delivered spam', 'c@site.example held spam'],
      );
      const dropped = outcomes.find(({ outcome }) => outcome === 'discarded');
      assert.match(dropped?.why ?? '', /^score 1000.* >= discard 20 \(.*policies\.yaml:3 .*drop\.example\)/);
      assert.deepEqual(await heldFor(site, 'c@'), ['c@site.example']);
    });

    test('a score lands at exactly the threshold, and a tenth below it does not', async () => {
      for (const { score, to, lands } of landings) {
        const queueId = await evidence.post(site, { to: [to], bytes: scoredMail(score) });
        const { text } = await evidence.settled(site, queueId, to);
        const said = /Ok: (handed|held|discarded)/.exec(text)?.[1];
        assert.equal(said, { held: 'held', discarded: 'discarded' }[String(lands)] ?? 'handed', `${score}`);
        if (said !== 'handed') assert.deepEqual(await evidence.handOffsOf(site, queueId), []);
        else
          assert.deepEqual(spamMarks((await evidence.arrived(site, to)).bytes), expectedMarks(score, lands));
      }
    });

    test('one transaction to three domains with three thresholds has three right outcomes', async () => {
      const to = ['d@tagged.example', 'd@flagged.example', 'd@held.example'];
      const queueId = await evidence.post(site, { to, bytes: scoredMail(8) });
      const tagged = await evidence.arrived(site, 'd@tagged.example');
      const flagged = await evidence.arrived(site, 'd@flagged.example');
      const replies = (await evidence.firstDeliveries(site, queueId, 3)).map(
        ({ recipient, status, text }) => [
          recipient,
          `${status} ${text.replaceAll(/[0-9A-F]{8,}|[0-9a-f]{32}/g, 'ID')}`,
        ],
      );
      assert.deepEqual(new Map(replies as [string, string][]), expectedReplies(feedProtocol));
      assert.deepEqual([tagged.rcpt.length, flagged.rcpt.length], [1, 1]);
      assert.deepEqual(evidence.marksOf(tagged.bytes), {
        'x-spam-score': ['8.0'],
        'x-spam-level': ['********'],
        'x-spam-status': ['No, score=8.000 required=9 tests=[WORTH_8=8]'],
        'x-virus-scanned': evidence.marksOf(tagged.bytes)['x-virus-scanned'],
      });
      assert.deepEqual(evidence.marksOf(flagged.bytes), {
        'x-spam-flag': ['YES'],
        'x-spam-score': ['8.0'],
        'x-spam-level': ['********'],
        'x-spam-status': ['Yes, score=8.000 required=6.5 tests=[WORTH_8=8]'],
        'x-virus-scanned': evidence.marksOf(flagged.bytes)['x-virus-scanned'],
      });
      const scans = await history(site, queueId, (rows) => rows.length > 0);
      assert.equal(scans.length, 1, 'one transaction is one scan');
      assert.equal(scans[0]?.outcomes.length, 3);
      const { stdout } = await site.cli('quarantine', 'show', await itemFor(site, 'd@held.example'));
      assert.match(
        stdout,
        /quarantine \(spam\): d@held\.example\n {2}score 8 >= quarantine 7 \(.*policies\.yaml:5 .*held\.example\)/,
      );
      assert.doesNotMatch(stdout, /tagged|flagged/);
    });

    test('forged marks of a sender are dropped, those of others stay', async () => {
      const fields = [
        'X-Spam-Flag: NO',
        'x-spam-STATUS: No, score=-99',
        '\ttests=[MY_FRIEND=-99]',
        'X-Quarantine-ID: 00000000000000000000000000000000',
        'X-Sluice-Envelope-From: <postmaster@site.example>',
        'X-Virus-Scanned: by the scanner next door',
      ];
      const bytes = mailOf({ subject: 'worth 2 points', fields });
      await evidence.post(site, { to: ['e@site.example'], bytes });
      const copy = await evidence.arrived(site, 'e@site.example');
      const marks = evidence.marksOf(copy.bytes);
      assert.match(marks['x-virus-scanned']?.[0] ?? '', /^yes \(Sluice /);
      assert.equal(marks['x-virus-scanned']?.[1], 'by the scanner next door');
      assert.deepEqual(spamMarks(copy.bytes), expectedMarks(2, 'tagged'));
      assert.deepEqual(
        Object.keys(marks).filter((name) => /quarantine|sluice/.test(name)),
        [],
      );
    });

    test('release gives a held message to the right recipients, once, as it came', async () => {
      const rcpt = [
        '<f1@site.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;first+2Btag@site.example',
        '<f2@site.example> NOTIFY=NEVER',
      ];
      const bytes = mailOf({ subject: 'release me', body: gtube });
      const queueId = await post(site, '<anna@partner.example> RET=HDRS ENVID=f+2B1', rcpt, bytes);
      await evidence.settled(site, queueId, 'f2@site.example');
      const id = await itemFor(site, 'f1@site.example');
      const first = await site.cli('quarantine', 'release', id);
      assert.equal(first.code, 0, first.stderr);
      const copy = await evidence.arrived(site, 'f1@site.example');
      assert.match(copy.mail, /^MAIL FROM:<anna@partner\.example>.* RET=HDRS/);
      assert.match(copy.mail, / ENVID=f\+2B1/);
      assert.deepEqual(copy.rcpt, [
        'RCPT TO:<f1@site.example> ORCPT=rfc822;first+2Btag@site.example NOTIFY=FAILURE,DELAY',
        'RCPT TO:<f2@site.example> ORCPT=rfc822;f2@site.example NOTIFY=NEVER',
      ]);
      assert.deepEqual(evidence.marksOf(copy.bytes)['x-quarantine-id'], [id]);
      assert.ok(copy.bytes.subarray(-bytes.length).equals(bytes), 'the octets as they came');
      const second = await site.cli('quarantine', 'release', id);
      assert.equal(second.code, 1);
      assert.match(second.stdout, /f1@site\.example: skipped: it is released/);
      await evidence.emptied(site);
      assert.equal(evidence.copiesFor(site, 'f1@site.example').length, 1);
      assert.equal(evidence.copiesFor(site, 'f2@site.example').length, 1);
    });

    test('two releases at once deliver once', async () => {
      const bytes = mailOf({ subject: 'release me twice', body: gtube });
      const queueId = await evidence.post(site, { to: ['g@site.example'], bytes });
      await evidence.settled(site, queueId, 'g@site.example');
      const id = await itemFor(site, 'g@site.example');
      const both = await Promise.all([1, 2].map(() => site.cli('quarantine', 'release', id)));
      assert.deepEqual(both.map(({ code }) => `exit ${code}`).toSorted(), ['exit 0', 'exit 1']);
      await evidence.emptied(site);
      assert.equal(evidence.copiesFor(site, 'g@site.example').length, 1);
    });

    test('release of an infected message needs --force; --to sends a copy elsewhere and keeps it held', async () => {
      const virus = infectedMails().find(({ label }) => label === 'zip');
      const rcpt = ['<h@site.example> NOTIFY=SUCCESS ORCPT=rfc822;h@site.example'];
      const queueId = await post(
        site,
        '<anna@partner.example> ENVID=h',
        rcpt,
        virus?.bytes ?? Buffer.alloc(0),
      );
      await evidence.settled(site, queueId, 'h@site.example');
      const id = await itemFor(site, 'h@site.example');
      const refused = await site.cli('quarantine', 'release', id);
      assert.equal(refused.code, 69);
      assert.match(refused.stderr, /infected \(Eicar-Test-Signature\.UNOFFICIAL\)/);
      assert.equal((await site.cli('quarantine', 'release', id, '--to', 'lab@site.example')).code, 69);
      const elsewhere = await site.cli('quarantine', 'release', id, '--to', 'lab@site.example', '--force');
      assert.equal(elsewhere.code, 0, elsewhere.stderr);
      const copy = await evidence.arrived(site, 'lab@site.example');
      assert.doesNotMatch(copy.mail, /ENVID/);
      assert.match(copy.rcpt.join(), /^RCPT TO:<lab@site\.example>.* NOTIFY=NEVER$/);
      assert.deepEqual(await heldFor(site, 'h@'), ['h@site.example']);
      assert.equal((await site.cli('quarantine', 'release', id, '--force')).code, 0);
      await evidence.arrived(site, 'h@site.example');
      await evidence.emptied(site);
      assert.equal(evidence.copiesFor(site, 'h@site.example').length, 1);
      assert.equal(evidence.copiesFor(site, 'lab@site.example').length, 1);
    });

    test('scan says 0 for clean mail and 1 for spam and virus, and moves nothing', async () => {
      const [virus] = infectedMails();
      for (const [label, bytes, code, words] of [
        ['clean', mailOf({ subject: 'clean' }), 0, /^virus {2}clean\nspam {3}score 0\n/],
        ['encrypted', encryptedMail(), 75, /^virus {2}unchecked \(encrypted\)/],
        ['spam', mailOf({ subject: 'gtube', body: gtube }), 1, /1000 +GTUBE/],
        ['virus', virus?.bytes ?? Buffer.alloc(0), 1, /^virus {2}infected: Eicar-Test-Signature/],
      ] as const) {
        const file = join(site.folder, `${label}.eml`);
        await writeFile(file, bytes);
        const scanned = await site.cli('scan', file, '--to', 'i@site.example');
        assert.equal(scanned.code, code, `${label}: ${scanned.stderr}`);
        assert.match(scanned.stdout, words);
      }
      const file = join(site.folder, 'eight.eml');
      await writeFile(file, scoredMail(8));
      const scanned = await site.cli('scan', file, '--to', 'x@tagged.example', '--to', 'x@held.example');
      assert.match(
        scanned.stdout,
        /deliver \(clean\): x@tagged\.example[^]*quarantine \(spam\): x@held\.example/,
      );
      assert.deepEqual(await heldFor(site, 'i@'), []);
    });

    test('a recipient that the return smtpd refuses does not keep the others from their mail', async () => {
      const to = ['refused@split.example', 'taken@split.example'];
      const mail = {
        to,
        bytes: mailOf({ subject: 'for two' }),
        from: '<split-sender@partner.example> ENVID=s1',
      };
      const queueId = await evidence.post(site, mail);
      const [refused, taken] = await Promise.all(to.map((one) => evidence.settled(site, queueId, one)));
      await evidence.arrived(site, 'taken@split.example');
      assert.equal(taken?.status, 'sent');
      const notice = await evidence.arrived(site, 'split-sender@partner.example');
      if (feedProtocol === 'lmtp') {
        assert.match(`${refused?.status} ${refused?.text}`, /^bounced .*said: 550 5\.1\.1 .*No such user/);
      } else {
        assert.equal(refused?.status, 'sent');
        assert.match(notice.mail, /^MAIL FROM:<>/);
        assert.match(notice.rcpt.join(), / NOTIFY=NEVER$/);
        assert.match(
          notice.bytes.toString(),
          /^Final-Recipient: rfc822; refused@split\.example\r\nAction: failed\r\nStatus: 5\.1\.1\r$/m,
        );
        assert.match(notice.bytes.toString(), /^Original-Envelope-Id: s1\r$/m);
        assert.match(notice.bytes.toString(), /^Subject: for two\r$/m);
      }
      await evidence.emptied(site);
      assert.equal(evidence.copiesFor(site, 'taken@split.example').length, 1);
      assert.equal(evidence.copiesFor(site, 'refused@split.example').length, 0);
      assert.equal(evidence.copiesFor(site, 'split-sender@partner.example').length, 1);
    });

    // The outbound listener speaks SMTP, the scan transport of the LMTP site does not.
    if (feedProtocol === 'smtp')
      test('what the site sends keeps its own X-Spam headers, gets none, and is held for a virus only', async () => {
        await site.postfix.setMainOverrides({ content_filter: `scan:[127.0.0.1]:${site.outboundPort}` });
        // A reload leaves an idle smtpd as it is, and it would take the next connection.
        await site.postfix.kill('feed', 'SIGTERM');
        const fields = ['X-Spam-Status: No, as our own gateway saw it'];
        const spam = mailOf({ subject: 'our newsletter', body: gtube, fields });
        await evidence.post(site, { to: ['j@elsewhere.example'], bytes: spam, from: '<news@site.example>' });
        const { bytes } = await evidence.arrived(site, 'j@elsewhere.example');
        const { 'x-virus-scanned': scanned, ...spamFields } = evidence.marksOf(bytes);
        assert.match(scanned?.join() ?? '', /^yes \(Sluice/);
        assert.deepEqual(spamFields, { 'x-spam-status': ['No, as our own gateway saw it'] });
        const alarm = (await evidence.eventsOf(site)).find(
          ({ recipient, msg }) => recipient === 'j@elsewhere.example' && msg === 'Recipient decided',
        );
        assert.equal(alarm?.alarm, true);
        const [virus] = infectedMails();
        const to = ['k@elsewhere.example'];
        const queueId = await evidence.post(site, { to, bytes: virus?.bytes ?? Buffer.alloc(0) });
        await evidence.settled(site, queueId, 'k@elsewhere.example');
        assert.deepEqual(await evidence.handOffsOf(site, queueId), []);
        assert.deepEqual(await heldFor(site, 'k@'), ['k@elsewhere.example']);
      });

    test('in the end nothing is queued, spooled, infected at the sink, or bounced beyond what was asked for', async () => {
      await evidence.emptied(site);
      assert.deepEqual(await evidence.spooled(join(site.folder, 'state')), []);
      const infected = site.sink?.messages.filter(({ rcpt }) => rcpt.join().includes('@virus.example'));
      assert.deepEqual(infected, []);
      assert.equal(evidence.notificationsIn(site).length, 1);
      assert.equal((await evidence.bouncesOf(site)).length, feedProtocol === 'lmtp' ? 1 : 0);
    });
  });
}

/** LMTP: a reply for each. SMTP: one 250 for all, which names both hand-offs. */
function expectedReplies(feedProtocol: 'lmtp' | 'smtp'): Map<string, string> {
  const handed = 'sent 250 2.0.0 Ok: handed to the return smtpd: queued as ID';
  const held = 'sent 250 2.0.0 Ok: held in quarantine: ID';
  const [tagged, flagged, kept] =
    feedProtocol === 'lmtp' ? [handed, handed, held] : Array(3).fill(`${handed}, ID`);
  return new Map([
    ['d@tagged.example', tagged],
    ['d@flagged.example', flagged],
    ['d@held.example', kept],
  ]);
}

function spamMarks(bytes: Buffer): Record<string, string[]> {
  const { 'x-virus-scanned': _, ...spam } = evidence.marksOf(bytes);
  return spam;
}

function expectedMarks(score: number, lands: (typeof landings)[number]['lands']): Record<string, string[]> {
  if (lands === 'plain') return {};
  const rule = `WORTH_${String(score).replace('.', '_')}=${score}`;
  const verdict = lands === 'flagged' ? 'Yes' : 'No';
  return {
    ...(lands === 'flagged' ? { 'x-spam-flag': ['YES'] } : {}),
    'x-spam-score': [score.toFixed(1)],
    'x-spam-level': ['*'.repeat(Math.floor(score))],
    'x-spam-status': [`${verdict}, score=${score.toFixed(3)} required=6.5 tests=[${rule}]`],
  };
}

async function post(site: TestSite, mail: string, rcpt: readonly string[], bytes: Buffer): Promise<string> {
  return evidence.post(site, { from: mail, to: rcpt, bytes });
}

/** Id of the item that is held for this address. */
async function itemFor(site: TestSite, address: string): Promise<string> {
  const item = (await evidence.quarantineOf(site)).find(({ slots }) =>
    slots.some(({ recipient }) => recipient === address),
  );
  if (item === undefined) throw new Error(`Nothing is held for ${address}`);
  return item.quarantineId;
}

/** Addresses that begin so for which something is still held. */
async function heldFor(site: TestSite, prefix: string): Promise<string[]> {
  const slots = (await evidence.quarantineOf(site)).flatMap((item) => item.slots);
  return slots
    .filter(({ recipient, state }) => recipient.startsWith(prefix) && state === 'held')
    .map(({ recipient }) => recipient);
}

/** History rows of a message, as soon as they are complete: clean mail's row is written behind its reply. */
async function history(
  site: TestSite,
  queueId: string,
  isComplete: (rows: readonly HistoryRow[]) => boolean,
): Promise<readonly HistoryRow[]> {
  const log = recordingLog();
  const opened = await openHistory({ file: join(site.folder, 'state', 'history.db'), log });
  try {
    return await evidence.until(`history of ${queueId}`, async () => {
      const rows = await opened.list({ limit: 10, queueId });
      return isComplete(rows) && rows;
    });
  } finally {
    await opened.close();
  }
}
